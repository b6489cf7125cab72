// The spillback guard's rule: the same as signals/spillback.py, which says what it means. A test holds the two together.

#include <cstdint>

#include "decision.h"

namespace {

bool any_room(const Decision* d, std::int64_t b) {
    const double* halting = d->read + d->lanes;
    for (std::int64_t n = d->stream_exits.first[b]; n < d->stream_exits.first[b + 1]; ++n) {
        const std::int32_t lane = d->stream_exits.index[n];
        if (halting[lane] < d->capacity_veh[lane]) {
            return true;
        }
    }
    return false;
}

// Whether a pedestrian waits for a crossing that the phase serves.
bool walks(const Decision* d, std::int64_t cell) {
    const std::int64_t K = d->movements, s = cell / d->phases;
    for (std::int64_t k = 0; k < K && d->walks; ++k) {
        if (d->service[cell * K + k] > 0.0 && d->pedestrians[s * K + k] > 0.0) {
            return true;
        }
    }
    return false;
}

}  // namespace

extern "C" {

// Which phases are blocked, by what `measure` found on the streams.
void spillback(const Decision* d) {
    const std::int64_t seen = 5;  // numbers of each stream, vehicles first
    for (std::int64_t cell = 0; cell < d->signals * d->phases; ++cell) {
        bool comes = false, flows = false;
        for (std::int64_t n = d->phase_streams.first[cell]; n < d->phase_streams.first[cell + 1] && !flows; ++n) {
            const std::int32_t b = d->phase_streams.index[n];
            if (d->stream_chosen[b] && d->on_streams[seen * b] > 0.0) {
                comes = true;
                flows = any_room(d, b);
            }
        }
        d->blocked[cell] = comes && !flows && !walks(d, cell);
    }
}

}  // extern "C"

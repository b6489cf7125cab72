// What follows from one reading of the lanes: sums on approaches, calls, observation, reward. The same arithmetic in
// the same order as signals/measures.py, signals/observations.py and signals/rewards.py, which say what it means; here
// it takes a tenth of the time. A test holds the two together, to the bit.

#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "decision.h"

namespace {

// What is read of a lane: vehicles, halting, waiting, loss. What is summed: these, and the vehicles that the current
// phase misses.
const int READ = 4, SEEN = READ + 1;

// W sums side by side: `values` holds W numbers for each element.
template <int W>
struct Sums {
    double of[W];

    void add(const double* values, const std::int32_t* index, const double* weight) {
        for (int w = 0; w < W; ++w) {
            of[w] += values[*index * W + w] * *weight;
        }
    }
};

template <int W>
Sums<W> operator+(const Sums<W>& a, const Sums<W>& b) {
    Sums<W> sum;
    for (int w = 0; w < W; ++w) {
        sum.of[w] = a.of[w] + b.of[w];
    }
    return sum;
}

// numpy adds up a contiguous row like this: up to 8 one by one, up to 128 in eight lanes, more by halves. The first
// `some` of `width` elements are there, the others are zeros, which change no sum of numbers that are not negative.
template <int W>
Sums<W> sum_as_numpy(
    const double* values, const std::int32_t* index, const double* weight, std::int64_t some, std::int64_t width
) {
    Sums<W> total{};
    if (width > 128) {
        std::int64_t half = width / 2;
        half -= half % 8;
        total = sum_as_numpy<W>(values, index, weight, std::min(some, half), half);
        if (some > half) {
            total = total + sum_as_numpy<W>(values, index + half, weight + half, some - half, width - half);
        }
        return total;
    }
    std::int64_t i = 0;
    if (width >= 8) {
        Sums<W> lane[8] = {};
        const std::int64_t even = std::min(some, width - width % 8);
        for (; i < even; ++i) {
            lane[i % 8].add(values, index + i, weight + i);
        }
        total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    }
    for (; i < some; ++i) {
        total.add(values, index + i, weight + i);
    }
    return total;
}

template <int W>
Sums<W> gathered(const Gather& gather, std::int64_t row, const double* values) {
    const std::int64_t first = gather.first[row];
    return sum_as_numpy<W>(
        values, gather.index + first, gather.weight + first, gather.first[row + 1] - first, gather.width
    );
}

}  // namespace

extern "C" {

// Streams, sums per phase, and calls.
void measure(const Decision* d) {
    const std::int64_t L = d->lanes, P = d->phases, K = d->movements;
    double zone[READ] = {};
    std::int64_t lane = -1;
    for (std::int64_t b = 0; b < d->streams; ++b) {
        if (d->stream_lane[b] != lane) {
            lane = d->stream_lane[b];
            zone[0] = gathered<1>(d->zone, lane, d->read).of[0];
            for (int n = 1; n < READ; ++n) {  // what an empty lane holds is 0, and most are empty
                zone[n] = zone[0] == 0.0 ? 0.0 : gathered<1>(d->zone, lane, d->read + n * L).of[0];
            }
        }
        double* stream = d->on_streams + SEEN * b;
        for (int n = 0; n < READ; ++n) {
            stream[n] = zone[n] * d->share[b];
        }
        const bool green = d->stream_served[b * P + d->phase[d->stream_signal[b]]];
        stream[READ] = green ? 0.0 : stream[0];
    }
    for (std::int64_t cell = 0; cell < d->signals * P; ++cell) {
        const Sums<SEEN> sums = gathered<SEEN>(d->phase_streams, cell, d->on_streams);
        std::copy(sums.of, sums.of + SEEN, d->on_phases + SEEN * cell);
        bool called = sums.of[READ] > 0.0;
        const std::int64_t s = cell / P;
        const double* served = d->service + cell * K;
        const double* now = d->service + (s * P + d->phase[s]) * K;
        for (std::int64_t k = 0; k < K && !called && d->walks; ++k) {
            called = served[k] > 0.0 && !(now[k] > 0.0) && d->pedestrians[s * K + k] > 0.0;
        }
        d->calls[cell] = called;
    }
}

// The rows of signals.observations.PhaseObservation; their constant elements are there already.
void observe(const Decision* d, float* rows) {
    const std::int64_t L = d->lanes, P = d->phases, K = d->movements;
    const int phase_features = 14, movement_features = 9;
    const double* halting = d->read + L;
    float* row = rows;
    for (std::int64_t s = 0; s < d->signals; ++s) {
        for (std::int64_t p = 0; p < P; ++p, row += phase_features) {
            const std::int64_t cell = s * P + p;
            const bool current = d->phase[s] == p;
            row[1] = d->mask[cell];
            row[2] = current;
            row[3] = current && d->changing[s];
            row[4] = current ? static_cast<float>(d->green_age_s[s]) : 0.0F;
            row[5] = static_cast<float>(d->since_served_s[cell]);
            row[6] = static_cast<float>(d->change_s[(s * P + d->phase[s]) * P + p]);
            row[7] = static_cast<float>(d->phase_size[cell]);
            for (int k = 0; k < SEEN; ++k) {
                row[8 + k] = static_cast<float>(d->on_phases[SEEN * cell + k]);
            }
            row[13] = static_cast<float>(gathered<1>(d->phase_exits, cell, halting).of[0]);
            for (int k = 1; k < phase_features; ++k) {
                row[k] = std::min(row[k] * d->phase_factor[k], d->limit);
            }
        }
        row += P * K;
        for (std::int64_t k = 0; k < K; ++k, row += movement_features) {
            const std::int64_t cell = s * K + k;
            const Sums<SEEN> sums = gathered<SEEN>(d->movement_streams, cell, d->on_streams);
            row[2] = static_cast<float>(d->movement_size[cell]);
            for (int n = 0; n < READ; ++n) {
                row[3 + n] = static_cast<float>(sums.of[n]);
            }
            row[7] = static_cast<float>(gathered<1>(d->movement_exits, cell, halting).of[0]);
            row[8] = static_cast<float>(d->pedestrians[cell]);
            for (int n = 2; n < movement_features; ++n) {
                row[n] = std::min(row[n] * d->movement_factor[n], d->limit);
            }
        }
    }
}

}  // extern "C"

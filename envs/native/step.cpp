// From one decision to the next in one call from Python: what shall be shown, SUMO's own steps, and the look at what
// came of it. SUMO is called by the addresses of its public C++ interface, as in getters.cpp.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>

#include "names.h"

struct Look;
struct Machine;

// The field order is that of `_Step` in envs/native/step.py.
struct Step {
    void (*set_phase)(const std::string&, int);
    void (*simulation_step)(double);
    const Names* tls_ids;
    const Machine* machine;
    const std::int64_t* signal;        // [S] which signals change, as machine_request answers
    const std::int64_t* row;           // [S] and what each then shows
    const std::uint8_t* calls;         // [S, P]
    const Look* look;                  // null where nothing shall be looked at
    const std::int64_t* wanted;        // [S]
    double interval_s, end_s;
    double now_s;
    double* sumo_s;                    // that all steps of SUMO took so far
    char said[1024];                   // SUMO's last words
};

const double FAILED = -1.0, UNREAD = -2.0;

extern "C" {

std::int64_t machine_request(
    const Machine* machine, double now_s, const std::int64_t* wanted, const std::uint8_t* calls
);
void machine_advance(const Machine* machine, double now_s);
int look(const Look* look, double now_s);

// Asks for a phase per signal and runs SUMO until the next decision: the moment reached. FAILED where SUMO failed, which
// no exception tells beyond this function: `said` does. UNREAD where a lane could not be read.
// (The C library has a `step` of its own, which would be called in its place.)
double step_to_next(Step* s) {
    using Clock = std::chrono::steady_clock;
    // SUMO counts whole milliseconds; sums of floats would drift away from them
    const double until_s = std::min(std::nearbyint((s->now_s + s->interval_s) * 1000.0) / 1000.0, s->end_s);
    try {
        const std::int64_t changes = machine_request(s->machine, s->now_s, s->wanted, s->calls);
        for (std::int64_t n = 0; n < changes; ++n) {
            s->set_phase(s->tls_ids->list[static_cast<std::size_t>(s->signal[n])], static_cast<int>(s->row[n]));
        }
        const Clock::time_point began = Clock::now();
        s->simulation_step(until_s);
        *s->sumo_s += std::chrono::duration<double>(Clock::now() - began).count();
    } catch (const std::exception& error) {
        std::snprintf(s->said, sizeof s->said, "%s", error.what());
        return FAILED;
    } catch (...) {
        std::snprintf(s->said, sizeof s->said, "unknown exception");
        return FAILED;
    }
    s->now_s = until_s;
    machine_advance(s->machine, until_s);
    return s->look != nullptr && look(s->look, until_s) != 0 ? UNREAD : until_s;
}

}  // extern "C"

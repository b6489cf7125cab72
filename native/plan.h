// What a search for plans reads and writes. The field order is that of `_Problem` in signals/planner/compiled.py, which
// says what each is, as does `Problem` in signals/planner/search.py.

#ifndef INTERGREEN_PLAN_H
#define INTERGREEN_PLAN_H

#include <cstdint>

struct Problem {
    std::int64_t signals, phases, steps;
    double step_s;
    const std::int64_t* stream_first;  // [S + 1]
    const double* queue_veh;           // [B]
    const double* arrivals_veh;        // [B, N]
    const double* rates_vps;           // [B, P]
    const double* change_s;            // [S, P, P]
    const double* least_green_s;       // [S, P]
    const double* greatest_green_s;    // [S, P]
    const std::int64_t* phase_count;   // [S]
    const std::int64_t* current;       // [S]
    const double* green_in_s;          // [S]
    const double* held_s;              // [S]
    const double* left_s;              // [S]
    const std::uint8_t* mask;          // [S, P]
    double* costs;                     // [S, P] is written
};

#endif

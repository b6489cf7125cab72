// The state machine's arithmetic: the same operations in the same order as signals/machine.py, which says what they
// mean, on the very same arrays. A test holds the two together, to the bit.

#include <algorithm>
#include <cstdint>
#include <limits>

#include "decision.h"

namespace {

const double SLACK_S = 1e-6;

// signals.max_red._best: of the phases that serve the group at this place, the one that serves the earliest of the
// others.
std::int64_t best(const Decision* d, const std::uint8_t* serves, std::int64_t count, std::int64_t place) {
    const std::int64_t P = d->phases;
    std::int64_t found = -1;
    for (std::int64_t p = 0; p < P; ++p) {
        if (!serves[d->order[place] * P + p]) {
            continue;
        }
        bool better = found < 0;
        for (std::int64_t n = 0; n < count && found >= 0; ++n) {
            const std::uint8_t* row = serves + d->order[n] * P;
            if (d->left[n] && row[p] != row[found]) {
                better = row[p];
                break;
            }
        }
        found = better ? p : found;
    }
    return found;
}

// signals.max_red.overdue for one signal: the phase that has to come next, or -1.
std::int64_t due(const Decision* d, std::int64_t s, double now_s) {
    const std::int64_t P = d->phases;
    const std::uint8_t* serves = d->red_serves + s * d->groups * P;
    const double bound_s = d->red_s[3 * s], change_s = d->red_s[3 * s + 1], round_s = d->red_s[3 * s + 2];
    std::int64_t count = 0;
    double longest_s = 0.0;
    for (std::int64_t g = 0; g < d->red_count[s]; ++g) {
        double last_s = -std::numeric_limits<double>::infinity();
        for (std::int64_t p = 0; p < P; ++p) {
            last_s = serves[g * P + p] ? std::max(last_s, d->green_until_s[s * P + p]) : last_s;
        }
        d->waits_s[g] = now_s - last_s;
        longest_s = std::max(longest_s, d->waits_s[g]);
        if (d->waits_s[g] > 0.0) {
            d->left[count] = true;
            d->order[count++] = g;
        }
    }
    if (!(longest_s > bound_s - (change_s + static_cast<double>(d->red_rounds[s]) * round_s))) {
        return -1;
    }
    std::stable_sort(d->order, d->order + count, [d](std::int64_t a, std::int64_t b) {
        return d->waits_s[a] > d->waits_s[b];
    });
    std::int64_t first = -1;
    double rounds = 0.0;
    bool late = false;
    for (std::int64_t place = 0; place < count && !late; ++place) {
        late = d->waits_s[d->order[place]] > bound_s - (change_s + (rounds + 1.0) * round_s);
        if (d->left[place]) {
            const std::int64_t phase = best(d, serves, count, place);
            first = first < 0 ? phase : first;
            for (std::int64_t n = 0; n < count; ++n) {
                d->left[n] = d->left[n] && !serves[d->order[n] * P + phase];
            }
            rounds += 1.0;
        }
    }
    return late ? first : -1;
}

// SignalMachine._ended for one signal that is not held. `over`: whether max green is reached.
void ended(const Decision* d, std::int64_t s, bool over, const std::uint8_t* calls, std::uint8_t* row) {
    const std::int64_t P = d->phases, current = d->current[s];
    const std::uint8_t* blocked = d->blocked + s * P;
    const bool useless = blocked[current];
    bool called = false, flowing = false;
    for (std::int64_t p = 0; p < P; ++p) {
        const bool calling = p != current && row[p] && calls[p];
        called = called || calling;
        flowing = flowing || (calling && !blocked[p]);
    }
    const bool for_flowing = flowing && (over || useless), for_called = !for_flowing && called && over && useless;
    for (std::int64_t p = 0; p < P; ++p) {
        const bool calling = p != current && row[p] && calls[p];
        if (for_flowing) {
            row[p] = calling && !blocked[p];
        } else if (for_called) {
            row[p] = calling;
        } else {
            row[p] = row[p] && (p == current || !blocked[p]);
        }
    }
}

}  // namespace

extern "C" {

// Which phases may be chosen now.
void machine_mask(const Decision* d, double now_s, const std::uint8_t* calls, std::uint8_t* mask) {
    const std::int64_t P = d->phases;
    for (std::int64_t s = 0; s < d->signals; ++s) {
        const std::int64_t current = d->current[s];
        const double* change_s = d->change_s + (s * P + current) * P;
        const bool held = now_s < d->held_until_s[s] - SLACK_S;
        std::uint8_t* row = mask + s * P;
        for (std::int64_t p = 0; p < P; ++p) {
            const bool settled = !d->settles || now_s + change_s[p] >= d->settled_at_s[s * P + p] - SLACK_S;
            row[p] = d->exists[s * P + p] && settled && !held;
        }
        row[current] = true;
        if (held) {
            continue;
        }
        const std::int64_t next = due(d, s, now_s);
        if (next >= 0) {
            const bool settled = !d->settles || now_s + change_s[next] >= d->settled_at_s[s * P + next] - SLACK_S;
            std::fill(row, row + P, 0);
            row[settled ? next : current] = true;
            continue;
        }
        ended(d, s, now_s + d->interval_s > d->max_until_s[s] + SLACK_S, calls + s * P, row);
    }
}

// Asks for a phase per signal; returns how many displays have to change: signal[n] to row[n].
std::int64_t machine_request(const Decision* d, double now_s, const std::int64_t* wanted, const std::uint8_t* calls) {
    const std::int64_t P = d->phases;
    std::int64_t changes = 0;
    machine_mask(d, now_s, calls, d->allowed);
    for (std::int64_t s = 0; s < d->signals; ++s) {
        const std::uint8_t* mask = d->allowed + s * P;
        double* served_until_s = d->served_until_s + s * P;
        double* settled_at_s = d->settled_at_s + s * P;
        const std::int64_t old = d->current[s];
        std::int64_t chosen = wanted[s];
        if (chosen < 0 || chosen >= P || !mask[chosen]) {
            chosen = old;
            double longest = std::numeric_limits<double>::infinity();
            for (std::int64_t p = 0; !mask[old] && p < P; ++p) {
                if (mask[p] && served_until_s[p] < longest) {
                    longest = served_until_s[p];
                    chosen = p;
                }
            }
        }
        if (chosen == old) {
            continue;
        }
        const std::int64_t change = (s * P + old) * P + chosen;
        served_until_s[old] = d->green_until_s[s * P + old] = now_s;
        const double since_s = d->green_since_s[s] = now_s + d->change_s[change];
        for (std::int64_t p = 0; d->settles && p < P; ++p) {
            settled_at_s[p] = std::max(settled_at_s[p], since_s + d->settling_s[change * P + p]);
        }
        d->current[s] = chosen;
        d->held_until_s[s] = since_s + d->min_green_s[s * P + chosen];
        d->max_until_s[s] = since_s + d->max_green_s[s * P + chosen];
        d->signal[changes] = s;
        d->row[changes++] = d->entry[change];
    }
    return changes;
}

// Time has passed.
void machine_advance(const Decision* d, double now_s) {
    for (std::int64_t s = 0; s < d->signals; ++s) {
        const std::int64_t current = s * d->phases + d->current[s];
        d->served_until_s[current] = now_s;
        if (!(d->green_since_s[s] > now_s + SLACK_S)) {  // a phase that comes next serves nobody yet
            d->green_until_s[current] = now_s;
        }
    }
}

// The signals' part of a snapshot.
void machine_show(const Decision* d, double now_s) {
    for (std::int64_t s = 0; s < d->signals; ++s) {
        const double since_green_s = now_s - d->green_since_s[s];
        d->phase[s] = d->current[s];
        d->changing[s] = since_green_s < -SLACK_S;
        d->green_in_s[s] = std::max(d->green_since_s[s] - now_s, 0.0);
        d->green_age_s[s] = std::max(since_green_s, 0.0);
    }
    for (std::int64_t cell = 0; cell < d->signals * d->phases; ++cell) {
        d->since_served_s[cell] = (now_s - d->served_until_s[cell]) * static_cast<double>(d->exists[cell]);
    }
}

}  // extern "C"

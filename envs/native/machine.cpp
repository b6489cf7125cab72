// The state machine's arithmetic: the same operations in the same order as signals/machine.py, which says what they
// mean, on the very same arrays. A test holds the two together, to the bit.

#include <algorithm>
#include <cstdint>
#include <limits>

namespace {

const double SLACK_S = 1e-6;

}  // namespace

// The field order is that of `_Tables` in envs/native/machine.py.
struct Machine {
    std::int64_t signals, phases;
    double decision_interval_s;
    std::int64_t settles;
    const std::uint8_t* exists;        // [S, P]
    const std::int64_t* entry;         // [S, P, P]
    const double* change_s;            // [S, P, P]
    const double* min_green_s;         // [S, P]
    const double* max_green_s;         // [S, P]
    const double* settling_s;          // [S, P, P, P]
    std::int64_t* phase;               // [S]
    double* green_since_s;             // [S]
    double* settled_at_s;              // [S, P]
    double* served_until_s;            // [S, P]
    double* held_until_s;              // [S]
    double* max_until_s;               // [S]
    // room for intermediate results and answers
    std::uint8_t* masked;              // [S, P]
    std::int64_t* signal;              // [S]
    std::int64_t* row;                 // [S]
};

extern "C" {

// Which phases may be chosen now.
void machine_mask(const Machine* m, double now_s, const std::uint8_t* calls, std::uint8_t* mask) {
    const std::int64_t P = m->phases;
    for (std::int64_t s = 0; s < m->signals; ++s) {
        const std::int64_t current = m->phase[s];
        const double* change_s = m->change_s + (s * P + current) * P;
        const bool held = now_s < m->held_until_s[s] - SLACK_S;
        std::uint8_t* row = mask + s * P;
        for (std::int64_t p = 0; p < P; ++p) {
            const bool settled = !m->settles || now_s + change_s[p] >= m->settled_at_s[s * P + p] - SLACK_S;
            row[p] = m->exists[s * P + p] && settled && !held;
        }
        row[current] = true;
        if (held || !(now_s + m->decision_interval_s > m->max_until_s[s] + SLACK_S)) {
            continue;
        }
        bool called = false;
        for (std::int64_t p = 0; p < P; ++p) {
            called = called || (p != current && row[p] && calls[s * P + p]);
        }
        for (std::int64_t p = 0; called && p < P; ++p) {
            row[p] = p != current && row[p] && calls[s * P + p];
        }
    }
}

// Asks for a phase per signal; returns how many displays have to change: signal[n] to row[n].
std::int64_t machine_request(
    const Machine* m, double now_s, const std::int64_t* wanted, const std::uint8_t* calls
) {
    const std::int64_t P = m->phases;
    std::int64_t changes = 0;
    machine_mask(m, now_s, calls, m->masked);
    for (std::int64_t s = 0; s < m->signals; ++s) {
        const std::uint8_t* mask = m->masked + s * P;
        double* served_until_s = m->served_until_s + s * P;
        double* settled_at_s = m->settled_at_s + s * P;
        const std::int64_t old = m->phase[s];
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
        served_until_s[old] = now_s;
        const double since_s = m->green_since_s[s] = now_s + m->change_s[change];
        for (std::int64_t p = 0; m->settles && p < P; ++p) {
            settled_at_s[p] = std::max(settled_at_s[p], since_s + m->settling_s[change * P + p]);
        }
        m->phase[s] = chosen;
        m->held_until_s[s] = since_s + m->min_green_s[s * P + chosen];
        m->max_until_s[s] = since_s + m->max_green_s[s * P + chosen];
        m->signal[changes] = s;
        m->row[changes++] = m->entry[change];
    }
    return changes;
}

// Time has passed.
void machine_advance(const Machine* m, double now_s) {
    for (std::int64_t s = 0; s < m->signals; ++s) {
        m->served_until_s[s * m->phases + m->phase[s]] = now_s;
    }
}

// The signals' part of a snapshot.
void machine_show(
    const Machine* m, double now_s, std::int64_t* phase, std::uint8_t* changing, double* green_age_s,
    double* since_served_s
) {
    for (std::int64_t s = 0; s < m->signals; ++s) {
        const double since_green_s = now_s - m->green_since_s[s];
        phase[s] = m->phase[s];
        changing[s] = since_green_s < -SLACK_S;
        green_age_s[s] = std::max(since_green_s, 0.0);
    }
    for (std::int64_t cell = 0; cell < m->signals * m->phases; ++cell) {
        since_served_s[cell] = (now_s - m->served_until_s[cell]) * static_cast<double>(m->exists[cell]);
    }
}

}  // extern "C"

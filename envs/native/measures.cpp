// What follows from one reading of the lanes: sums on approaches, calls, observation, reward. The same arithmetic in
// the same order as signals/measures.py, signals/observations.py and signals/rewards.py, which say what it means; here
// it takes a tenth of the time. A test holds the two together, to the bit.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace {

// A weighted sum over few elements each: index and weight are [count, width], padded with weight 0.
struct Gather {
    const std::int64_t* index;
    const double* weight;
    std::int64_t count, width;
};

// numpy adds up a contiguous row like this: up to 8 one by one, up to 128 in eight lanes, more by halves.
double sum_as_numpy(const double* values, std::int64_t n) {
    if (n < 8) {
        double total = -0.0;
        for (std::int64_t i = 0; i < n; ++i) {
            total += values[i];
        }
        return total;
    }
    if (n <= 128) {
        double lane[8];
        std::copy(values, values + 8, lane);
        std::int64_t i = 8;
        for (; i < n - n % 8; i += 8) {
            for (int k = 0; k < 8; ++k) {
                lane[k] += values[i + k];
            }
        }
        double total = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
        for (; i < n; ++i) {
            total += values[i];
        }
        return total;
    }
    std::int64_t half = n / 2;
    half -= half % 8;
    return sum_as_numpy(values, half) + sum_as_numpy(values + half, n - half);
}

double gathered(const Gather& gather, std::int64_t row, const double* values, double* room) {
    const std::int64_t* index = gather.index + row * gather.width;
    const double* weight = gather.weight + row * gather.width;
    for (std::int64_t k = 0; k < gather.width; ++k) {
        room[k] = values[index[k]] * weight[k];
    }
    return sum_as_numpy(room, gather.width);
}

}  // namespace

extern "C" {

// The field order is that of `_Tables` in envs/kernel.py.
struct Tables {
    std::int64_t signals, phases, movements, lanes, controlled;
    Gather zone, signal_lanes, phase_lanes, movement_lanes, phase_exits, movement_exits;
    const std::int64_t* controlled_signal;
    const std::uint8_t* lane_served;      // [C, P]
    const double* service;                // [S, P, K]
    const float* phase_factor;            // [11]
    const float* movement_factor;         // [7]
    float limit;
    // the snapshot
    const double* read;                   // [4, L]
    const double* pedestrians;            // [S, K]
    const std::int64_t* phase;            // [S]
    const std::uint8_t* changing;         // [S]
    const double* green_age_s;            // [S]
    const double* since_served_s;         // [S, P]
    const std::uint8_t* mask;             // [S, P]
    std::uint8_t* calls;                  // [S, P]
    // room for intermediate results
    double* zones;                        // [4, C]
    double* fresh;                        // [C] vehicles that the current phase does not serve
    double* on_phases;                    // [4, S, P]
    double* room;                         // as wide as the widest gather
};

// Zones, sums per phase, and calls.
void measure(const Tables* t) {
    const std::int64_t C = t->controlled, L = t->lanes, P = t->phases, K = t->movements, cells = t->signals * P;
    for (int row = 0; row < 4; ++row) {
        for (std::int64_t c = 0; c < C; ++c) {
            t->zones[row * C + c] = gathered(t->zone, c, t->read + row * L, t->room);
        }
    }
    for (std::int64_t c = 0; c < C; ++c) {
        const bool green = t->lane_served[c * P + t->phase[t->controlled_signal[c]]];
        t->fresh[c] = green ? 0.0 : t->zones[c];
    }
    for (std::int64_t cell = 0; cell < cells; ++cell) {
        for (int row = 0; row < 3; ++row) {
            t->on_phases[row * cells + cell] = gathered(t->phase_lanes, cell, t->zones + row * C, t->room);
        }
        t->on_phases[3 * cells + cell] = gathered(t->phase_lanes, cell, t->fresh, t->room);
        bool called = t->on_phases[3 * cells + cell] > 0.0;
        const std::int64_t s = cell / P;
        const double* served = t->service + cell * K;
        const double* now = t->service + (s * P + t->phase[s]) * K;
        for (std::int64_t k = 0; k < K && !called; ++k) {
            called = served[k] > 0.0 && !(now[k] > 0.0) && t->pedestrians[s * K + k] > 0.0;
        }
        t->calls[cell] = called;
    }
}

// The rows of signals.observations.PhaseObservation; their constant elements are there already.
void observe(const Tables* t, float* rows) {
    const std::int64_t C = t->controlled, L = t->lanes, P = t->phases, K = t->movements, cells = t->signals * P;
    const int phase_features = 11, movement_features = 7;
    const std::int64_t width = P * phase_features + P * K + K * movement_features;
    const double* halting = t->read + L;
    for (std::int64_t s = 0; s < t->signals; ++s) {
        float* row = rows + s * width;
        for (std::int64_t p = 0; p < P; ++p, row += phase_features) {
            const std::int64_t cell = s * P + p;
            const bool current = t->phase[s] == p;
            row[1] = t->mask[cell];
            row[2] = current;
            row[3] = current && t->changing[s];
            row[4] = current ? static_cast<float>(t->green_age_s[s]) : 0.0F;
            row[5] = static_cast<float>(t->since_served_s[cell]);
            for (int k = 0; k < 4; ++k) {
                row[6 + k] = static_cast<float>(t->on_phases[k * cells + cell]);
            }
            row[10] = static_cast<float>(gathered(t->phase_exits, cell, halting, t->room));
            for (int k = 1; k < phase_features; ++k) {
                row[k] = std::min(row[k] * t->phase_factor[k], t->limit);
            }
        }
        row += P * K;
        for (std::int64_t k = 0; k < K; ++k, row += movement_features) {
            const std::int64_t cell = s * K + k;
            for (int n = 0; n < 3; ++n) {
                row[2 + n] = static_cast<float>(gathered(t->movement_lanes, cell, t->zones + n * C, t->room));
            }
            row[5] = static_cast<float>(gathered(t->movement_exits, cell, halting, t->room));
            row[6] = static_cast<float>(t->pedestrians[cell]);
            for (int n = 2; n < movement_features; ++n) {
                row[n] = std::min(row[n] * t->movement_factor[n], t->limit);
            }
        }
    }
}

// Minus the sum of one of the zones' quantities over each signal: the rewards time_loss (3) and queue_veh (1).
void minus_sum(const Tables* t, int quantity, double* reward) {
    for (std::int64_t s = 0; s < t->signals; ++s) {
        reward[s] = -gathered(t->signal_lanes, s, t->zones + quantity * t->controlled, t->room);
    }
}

}  // extern "C"

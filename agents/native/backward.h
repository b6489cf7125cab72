// The phase network backwards, from the slope of a loss in each output to that in each weight, a chunk of rows at a time.
#ifndef PHASES_BACKWARD
#define PHASES_BACKWARD

#include "network.h"

namespace {

struct Gradients : Layers {
    float* out_bias;
    Gradients(const Network& n, Room& room) : Layers(n, room), out_bias(room.take(1)) {}
};

// What a chunk's way back needs beside what was kept.
struct Back {
    float *phases, *served, *movements, *mean, *shared, *heads, *head_phases, *head_back;
    Back(const Network& n, Room& room) {
        const Index w = padded(n.units), p = CHUNK_ROWS * n.phases, k = CHUNK_ROWS * n.movements;
        phases = room.take(p * w);
        served = room.take(p * w);
        movements = room.take(k * w);
        mean = room.take(CHUNK_ROWS * w);
        shared = room.take(CHUNK_ROWS * w);
        heads = room.take(p * w);
        head_phases = room.take(p * w);
        head_back = room.take(p * w);
    }
};

APART void backward_chunk(
    const Network& n, const Weights& w, Index count, const Chunk& c, const float* slope, const Gradients& g, const Back& d
) {
    const Index fp = n.phase_features, fm = n.movement_features, u = w.units, width = w.width, stride = fp + width;
    const Index movements = c.counts[0], services = c.counts[1], phases = c.counts[2], heads = c.counts[3];
    std::memset(d.phases, 0, sizeof(float) * phases * width);
    std::memset(d.shared, 0, sizeof(float) * count * width);
    if (n.scores) {
        Index active = 0;  // of a Q-network that learns from one action a row, the others' heads have no slope
        for (Index h = 0; h < heads; ++h) {
            const float by = slope[c.head_cell[h]];
            if (by == 0.0f) {
                continue;
            }
            const float* hidden = c.hidden + h * width;
            const Index e = c.head_phase[h];
            float* head = d.heads + active * width;
            add(g.out, hidden, by, width);
            *g.out_bias += by;
            for (Index i = 0; i < width; ++i) {
                head[i] = hidden[i] > 0.0f ? by * w.out[i] : 0.0f;
            }
            add(d.shared + c.phase_row[e] * width, head, 1.0f, width);
            copy_vectors(d.head_phases + active * width, c.phases + e * width, width);
            ++active;
        }
        multiply(u, active, d.head_phases, 1, width, d.heads, width, g.own, width, g.own, width);
        multiply(active, u, d.heads, width, 1, w.own_back, width, nullptr, 0, d.head_back, width);
        active = 0;
        for (Index h = 0; h < heads; ++h) {
            if (slope[c.head_cell[h]] != 0.0f) {
                add(d.phases + c.head_phase[h] * width, d.head_back + active++ * width, 1.0f, width);
            }
        }
    } else {
        for (Index b = 0; b < count; ++b) {
            const float* hidden = c.shared + b * width;
            add(g.out, hidden, slope[b], width);
            *g.out_bias += slope[b];
            add(d.shared + b * width, w.out, slope[b], width);
            rectify_back(d.shared + b * width, hidden, width);
        }
    }
    for (Index b = 0; b < count; ++b) {
        add(g.hidden_bias, d.shared + b * width, 1.0f, width);
    }
    multiply(u, count, c.mean, 1, width, d.shared, width, g.mean, width, g.mean, width);
    multiply(count, u, d.shared, width, 1, w.mean_back, width, nullptr, 0, d.mean, width);
    for (Index e = 0; e < phases; ++e) {
        add(d.phases + e * width, d.mean + c.phase_row[e] * width, c.phase_share[e], width);
    }
    rectify_back(d.phases, c.phases, phases * width);
    for (Index e = 0; e < phases; ++e) {
        add(g.phase_bias, d.phases + e * width, 1.0f, width);
    }
    multiply(fp + u, phases, c.inputs, 1, stride, d.phases, width, g.phase, width, g.phase, width);
    multiply(phases, u, d.phases, width, 1, w.served_back, width, nullptr, 0, d.served, width);
    std::memset(d.movements, 0, sizeof(float) * movements * width);
    for (Index s = 0; s < services; ++s) {
        float* movement = d.movements + c.service_movement[s] * width;
        add(movement, d.served + c.service_phase[s] * width, c.service_weight[s], width);
    }
    rectify_back(d.movements, c.movements, movements * width);
    for (Index m = 0; m < movements; ++m) {
        add(g.movement_bias, d.movements + m * width, 1.0f, width);
    }
    multiply(fm, movements, c.features, 1, fm, d.movements, width, g.movement, width, g.movement, width);
}

INLINE void clear(const Network& n, const Gradients& g) {
    Room room{nullptr};
    Gradients counted(n, room);
    std::memset(g.movement, 0, sizeof(float) * room.used);  // the first of what lies side by side
}

// The slopes in each weight in the order of `Network`, laid out as torch has them.
INLINE void lay_out(const Network& n, const Gradients& g, float* grads) {
    const Index u = n.units, w = g.width, fm = n.movement_features, inputs = n.phase_features + u;
    const Index hidden = n.scores ? 2 * u : u;
    transpose_back(g.movement, w, u, fm, fm, grads);
    std::memcpy(grads += u * fm, g.movement_bias, sizeof(float) * u);
    transpose_back(g.phase, w, u, inputs, inputs, grads += u);
    std::memcpy(grads += u * inputs, g.phase_bias, sizeof(float) * u);
    grads += u;
    if (n.scores) {
        transpose_back(g.own, w, u, u, hidden, grads);
    }
    transpose_back(g.mean, w, u, u, hidden, grads + (n.scores ? u : 0));
    std::memcpy(grads += u * hidden, g.hidden_bias, sizeof(float) * u);
    std::memcpy(grads += u, g.out, sizeof(float) * u);
    grads[u] = *g.out_bias;
}

}  // namespace

#endif

// The phase network forwards, a chunk of rows at a time.
//
// Only what takes part is computed: movements that some phase serves, phases that exist, heads of phases that may be
// chosen. A chunk stays in the processor's cache.
#ifndef PHASES_NETWORK
#define PHASES_NETWORK

#include "kernels.h"

// The field order is that of `_Network` in agents/compiled.py. Weights lie as torch has them, [out, in].
struct Network {
    Index phases, movements, phase_features, movement_features, units;
    Index scores;  // 1: a score for each phase, 0: one value
    const float *movement_weight, *movement_bias, *phase_weight, *phase_bias;
    const float *hidden_weight, *hidden_bias;  // [units, 2 units] of a phase and the mean, or [units, units] of the mean
    const float *out_weight, *out_bias;        // [1, units], [1]
};

namespace {

// Hands out parts of one piece of memory, one after the other; without one it only counts.
struct Room {
    float* at;
    Index used = 0;
    float* take(Index count) {
        float* found = at == nullptr ? nullptr : at + used;
        used += padded(count);
        return found;
    }
    Index* take_indices(Index count) { return reinterpret_cast<Index*>(take(2 * count)); }
};

// The layers [in, out], rows padded to whole vectors: as the products need them on the way forwards.
struct Layers {
    Index units, width;  // width: units, padded
    float *movement, *movement_bias, *phase, *phase_bias, *own, *mean, *hidden_bias, *out;
    Layers(const Network& n, Room& room) : units(n.units), width(padded(n.units)) {
        const Index u = units, w = width;
        movement = room.take(n.movement_features * w);
        movement_bias = room.take(w);
        phase = room.take((n.phase_features + u) * w);
        phase_bias = room.take(w);
        own = room.take(u * w);
        mean = room.take(u * w);
        hidden_bias = room.take(w);
        out = room.take(w);
    }
};

// And [out, in], for the way back.
struct Weights : Layers {
    float *served_back, *own_back, *mean_back;
    Weights(const Network& n, Room& room) : Layers(n, room) {
        served_back = room.take(units * width);
        own_back = room.take(units * width);
        mean_back = room.take(units * width);
    }
};

// What a chunk of rows is on its way, kept for the way back.
struct Chunk {
    Index *counts;                                     // movements, services, phases, heads
    Index *number;                                     // of each movement of a row among those of the chunk, or -1
    Index *service_movement, *service_phase;           // which movement of the chunk goes to which phase of it
    Index *phase_row, *head_phase, *head_cell;         // row of a phase; phase of a head, and its place in the output
    float *service_weight, *phase_share;
    float *features, *movements, *inputs, *phases, *mean, *shared, *head_phases, *hidden, *head_scores;
    Chunk(const Network& n, Room& room) {
        const Index rows = CHUNK_ROWS, p = rows * n.phases, k = rows * n.movements, w = padded(n.units);
        counts = room.take_indices(4);
        number = room.take_indices(n.movements);
        service_movement = room.take_indices(p * n.movements);
        service_phase = room.take_indices(p * n.movements);
        phase_row = room.take_indices(p);
        head_phase = room.take_indices(p);
        head_cell = room.take_indices(p);
        service_weight = room.take(p * n.movements);
        phase_share = room.take(p);
        features = room.take(k * n.movement_features);
        movements = room.take(k * w);
        inputs = room.take(p * (n.phase_features + w));
        phases = room.take(p * w);
        mean = room.take(rows * w);
        shared = room.take(rows * w);
        head_phases = room.take(p * w);
        hidden = room.take(p * w);
        head_scores = room.take(p);
    }
};

APART void pack(const Network& n, const Weights& w, bool back) {
    const Index u = n.units, width = w.width, inputs = n.phase_features + u, hidden = n.scores ? 2 * u : u;
    const float* mean = n.hidden_weight + (n.scores ? u : 0);
    transpose(n.movement_weight, u, n.movement_features, n.movement_features, w.movement, width);
    widen(n.movement_bias, 1, u, u, w.movement_bias, width);
    transpose(n.phase_weight, u, inputs, inputs, w.phase, width);
    widen(n.phase_bias, 1, u, u, w.phase_bias, width);
    if (n.scores) {
        transpose(n.hidden_weight, u, u, hidden, w.own, width);
    }
    transpose(mean, u, u, hidden, w.mean, width);
    widen(n.hidden_bias, 1, u, u, w.hidden_bias, width);
    widen(n.out_weight, 1, u, u, w.out, width);
    if (back) {
        widen(n.phase_weight + n.phase_features, u, inputs, u, w.served_back, width);
        widen(n.hidden_weight, u, hidden, u, w.own_back, width);
        widen(mean, u, hidden, u, w.mean_back, width);
    }
}

// Which rows of an array a chunk is of, by number or one after the other; `only`: the one phase that is scored in each,
// else all that may be chosen.
struct Rows {
    const float* rows;
    const Index *numbers, *only;
    Index count, size;
    const float* operator[](Index b) const { return rows + (numbers == nullptr ? b : numbers[b]) * size; }
};

INLINE Index row_size(const Network& n) {
    return n.phases * (n.phase_features + n.movements) + n.movements * n.movement_features;
}

// Asks the memory for a row of the replay buffer ahead of time: they lie about, and the list below would wait for each.
INLINE void prefetch(const Rows& rows, Index b) {
    if (b < rows.count) {
        const float* row = rows[b];
        for (Index i = 0; i < rows.size; i += LINE) {
            __builtin_prefetch(row + i);
        }
    }
}

// Who takes part: the lists of a chunk, and its inputs with the phases' own features in place.
INLINE void list(const Network& n, const Rows& rows, const Chunk& c) {
    const Index P = n.phases, K = n.movements, fp = n.phase_features, fm = n.movement_features;
    const Index width = padded(n.units), stride = fp + width;
    Index movements = 0, services = 0, phases = 0, heads = 0;
    for (Index b = 0; b < AHEAD; ++b) {
        prefetch(rows, b);
    }
    for (Index b = 0; b < rows.count; ++b) {
        prefetch(rows, b + AHEAD);
        const float* row = rows[b];
        const float* service = row + P * fp;
        const float* features = service + P * K;
        const Index first = phases;
        float exist = 0.0f;
        for (Index k = 0; k < K; ++k) {
            c.number[k] = -1;
        }
        for (Index p = 0; p < P; ++p) {
            const float exists = row[p * fp];
            const bool head = n.scores && row[p * fp + SELECTABLE] > 0.5f;
            exist += exists;
            if (exists == 0.0f && !head) {
                continue;
            }
            if (head && (rows.only == nullptr || rows.only[b] == p)) {
                c.head_phase[heads] = phases;
                c.head_cell[heads++] = b * P + p;
            }
            c.phase_row[phases] = b;
            c.phase_share[phases] = exists;
            float* input = c.inputs + phases * stride;
            copy(input, row + p * fp, fp);
            for (Index k = 0; k < K; ++k) {
                if (service[p * K + k] == 0.0f) {
                    continue;
                }
                if (c.number[k] < 0) {
                    c.number[k] = movements++;
                    copy(c.features + c.number[k] * fm, features + k * fm, fm);
                }
                c.service_movement[services] = c.number[k];
                c.service_phase[services] = phases;
                c.service_weight[services++] = service[p * K + k];
            }
            ++phases;
        }
        const float share = 1.0f / (exist > 1.0f ? exist : 1.0f);
        for (Index e = first; e < phases; ++e) {
            c.phase_share[e] *= share;
        }
    }
    c.counts[0] = movements;
    c.counts[1] = services;
    c.counts[2] = phases;
    c.counts[3] = heads;
}

// What a phase's movements are together, V vectors of it: summed in registers.
template <int V>
INLINE void serve(const Chunk& c, Index begin, Index end, Index width, const float* movements, float* served) {
    Vector sum[V] = {};
    for (Index s = begin; s < end; ++s) {
        const float* movement = movements + c.service_movement[s] * width;
        const float weight = c.service_weight[s];
        for (int v = 0; v < V; ++v) {
            sum[v] += weight * vector(movement + v * LANES);
        }
    }
    for (int v = 0; v < V; ++v) {
        vector(served + v * LANES) = sum[v];
    }
}

// To out [rows, P] scores or [rows] values.
APART void forward_chunk(const Network& n, const Weights& w, const Rows& rows, const Chunk& c, float* out) {
    const Index fp = n.phase_features, fm = n.movement_features, width = w.width, stride = fp + width;
    const Index count = rows.count;
    list(n, rows, c);
    const Index movements = c.counts[0], services = c.counts[1], phases = c.counts[2], heads = c.counts[3];
    multiply<true>(movements, fm, c.features, fm, 1, w.movement, width, w.movement_bias, 0, c.movements, width);
    for (Index e = 0, begin = 0; e < phases; ++e) {  // the services of a phase lie side by side
        Index end = begin;
        while (end < services && c.service_phase[end] == e) {
            ++end;
        }
        float* served = c.inputs + e * stride + fp;
        Index i = 0;
        for (; i + 4 * LANES <= width; i += 4 * LANES) {
            serve<4>(c, begin, end, width, c.movements + i, served + i);
        }
        for (; i < width; i += LANES) {
            serve<1>(c, begin, end, width, c.movements + i, served + i);
        }
        begin = end;
    }
    multiply<true>(phases, fp + w.units, c.inputs, stride, 1, w.phase, width, w.phase_bias, 0, c.phases, width);
    std::memset(c.mean, 0, sizeof(float) * count * width);
    for (Index e = 0; e < phases; ++e) {
        add(c.mean + c.phase_row[e] * width, c.phases + e * width, c.phase_share[e], width);
    }
    if (!n.scores) {
        multiply<true>(count, w.units, c.mean, width, 1, w.mean, width, w.hidden_bias, 0, c.shared, width);
        dots(c.shared, count, w.out, width, out);
        for (Index b = 0; b < count; ++b) {
            out[b] += *n.out_bias;
        }
        return;
    }
    multiply(count, w.units, c.mean, width, 1, w.mean, width, w.hidden_bias, 0, c.shared, width);
    for (Index cell = 0; cell < count * n.phases; ++cell) {
        out[cell] = MASKED;
    }
    for (Index h = 0; h < heads; ++h) {
        const Index e = c.head_phase[h];
        copy_vectors(c.hidden + h * width, c.shared + c.phase_row[e] * width, width);
        copy_vectors(c.head_phases + h * width, c.phases + e * width, width);
    }
    multiply<true>(heads, w.units, c.head_phases, width, 1, w.own, width, c.hidden, width, c.hidden, width);
    dots(c.hidden, heads, w.out, width, c.head_scores);
    for (Index h = 0; h < heads; ++h) {
        out[c.head_cell[h]] = c.head_scores[h] + *n.out_bias;
    }
}

// Calls `with` for each weight of a network, in the order of `Network`, and its count.
template <typename With>
INLINE void for_each_weight(const Network& n, With with) {
    const Index u = n.units;
    with(n.movement_weight, u * n.movement_features);
    with(n.movement_bias, u);
    with(n.phase_weight, u * (n.phase_features + u));
    with(n.phase_bias, u);
    with(n.hidden_weight, u * (n.scores ? 2 * u : u));
    with(n.hidden_bias, u);
    with(n.out_weight, u);
    with(n.out_bias, 1);
}

INLINE Index weights_size(const Network& n) {
    Index size = 0;
    for_each_weight(n, [&](const float*, Index count) { size += count; });
    return size;
}

INLINE Index chunks(Index batch) { return (batch + CHUNK_ROWS - 1) / CHUNK_ROWS; }

INLINE Index chunk_size(const Network& n) {
    Room room{nullptr};
    Chunk chunk(n, room);
    return room.used;
}

INLINE Index smaller(Index a, Index b) { return a < b ? a : b; }

}  // namespace

#endif

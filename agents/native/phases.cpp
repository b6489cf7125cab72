// The phase network forwards and backwards in one call each: what agents/network.py defines and torch's own operations
// compute as well, three to four times as slowly, since they are many and most of what they multiply is zero.
//
// Only what takes part is computed: movements that some phase serves, phases that exist, heads of phases that may be
// chosen. Rows go through in chunks that stay in the processor's cache.

#include <cstddef>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define CLONES __attribute__((target_clones("avx512f", "fma", "default")))  // chosen when the library is loaded
#else
#define CLONES
#endif

namespace {

using Index = std::int64_t;
typedef float Vector __attribute__((vector_size(64), aligned(4), may_alias));

const Index LANES = 16;       // floats of a Vector
const Index CHUNK_ROWS = 32;  // of the batch
const Index SELECTABLE = 1;   // in a phase's features; the first one is whether it exists
const float MASKED = -1e9f;

Index padded(Index width) { return (width + LANES - 1) / LANES * LANES; }

}  // namespace

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
    Index *service_movement, *service_phase;           // which movement of the chunk goes to which phase of it
    Index *phase_row, *head_phase, *head_cell;         // row of a phase; phase of a head, and its place in the output
    float *service_weight, *phase_share;
    float *features, *movements, *inputs, *phases, *mean, *shared, *hidden;
    Chunk(const Network& n, Room& room) {
        const Index rows = CHUNK_ROWS, p = rows * n.phases, k = rows * n.movements, w = padded(n.units);
        counts = room.take_indices(4);
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
        hidden = room.take(p * w);
    }
};

INLINE const Vector& vector(const float* at) { return *reinterpret_cast<const Vector*>(at); }
INLINE Vector& vector(float* at) { return *reinterpret_cast<Vector*>(at); }

// One block of `multiply`: R rows and V vectors of columns, summed in registers.
template <int R, int V>
INLINE void block(
    Index depth, const float* a, Index row, Index column, const float* b, Index width, const float* start, Index step,
    float* c, Index stride
) {
    Vector sum[R][V];
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            sum[r][v] = start == nullptr ? Vector{} : vector(start + r * step + v * LANES);
        }
    }
    for (Index j = 0; j < depth; ++j) {
        for (int v = 0; v < V; ++v) {
            const Vector factor = vector(b + j * width + v * LANES);
            for (int r = 0; r < R; ++r) {
                sum[r][v] += a[r * row + j * column] * factor;
            }
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            vector(c + r * stride + v * LANES) = sum[r][v];
        }
    }
}

// c[r] = start[r] + sum over j of a[r, j] b[j], rows of `width` floats, a multiple of a vector's. `row` and `column` are
// the steps within a, so that it may lie transposed; `step` is that from one start to the next, 0 for the same one.
INLINE void multiply(
    Index rows, Index depth, const float* a, Index row, Index column, const float* b, Index width, const float* start,
    Index step, float* c, Index stride
) {
    for (Index w = 0; w < width;) {
        const bool wide = width - w >= 2 * LANES;
        Index r = 0;
        const float* first = start == nullptr ? nullptr : start + w;
        for (; r + 4 <= rows; r += 4) {
            const float* from = first == nullptr ? nullptr : first + r * step;
            if (wide) {
                block<4, 2>(depth, a + r * row, row, column, b + w, width, from, step, c + r * stride + w, stride);
            } else {
                block<4, 1>(depth, a + r * row, row, column, b + w, width, from, step, c + r * stride + w, stride);
            }
        }
        for (; r < rows; ++r) {
            const float* from = first == nullptr ? nullptr : first + r * step;
            if (wide) {
                block<1, 2>(depth, a + r * row, row, column, b + w, width, from, step, c + r * stride + w, stride);
            } else {
                block<1, 1>(depth, a + r * row, row, column, b + w, width, from, step, c + r * stride + w, stride);
            }
        }
        w += wide ? 2 * LANES : LANES;
    }
}

// What is not a number stays so: a training has to notice.
INLINE void rectify(float* at, Index count) {
    for (Index n = 0; n < count; ++n) {
        at[n] = at[n] < 0.0f ? 0.0f : at[n];
    }
}

// at[n] where the rectified value is above 0, else 0.
INLINE void rectify_back(float* at, const float* rectified, Index count) {
    for (Index n = 0; n < count; ++n) {
        at[n] = rectified[n] > 0.0f ? at[n] : 0.0f;
    }
}

INLINE void add(float* to, const float* from, float factor, Index count) {
    for (Index n = 0; n < count; ++n) {
        to[n] += factor * from[n];
    }
}

INLINE float dot(const float* a, const float* b, Index count) {
    float sum = 0.0f;
    for (Index n = 0; n < count; ++n) {
        sum += a[n] * b[n];
    }
    return sum;
}

// [out, in] to [in, out], rows padded with zeros; `from` has rows of `columns` floats.
INLINE void transpose(const float* from, Index outs, Index ins, Index columns, float* to, Index width) {
    std::memset(to, 0, sizeof(float) * ins * width);
    for (Index o = 0; o < outs; ++o) {
        for (Index i = 0; i < ins; ++i) {
            to[i * width + o] = from[o * columns + i];
        }
    }
}

// And back, without the padding.
INLINE void transpose_back(const float* from, Index width, Index outs, Index ins, Index columns, float* to) {
    for (Index o = 0; o < outs; ++o) {
        for (Index i = 0; i < ins; ++i) {
            to[o * columns + i] = from[i * width + o];
        }
    }
}

INLINE void widen(const float* from, Index rows, Index columns, Index count, float* to, Index width) {
    std::memset(to, 0, sizeof(float) * rows * width);
    for (Index r = 0; r < rows; ++r) {
        std::memcpy(to + r * width, from + r * columns, sizeof(float) * count);
    }
}

INLINE void pack(const Network& n, const Weights& w, bool back) {
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

// Who takes part: the lists of a chunk, and its inputs with the phases' own features in place.
INLINE void list(const Network& n, const float* rows, Index count, const Chunk& c) {
    const Index P = n.phases, K = n.movements, fp = n.phase_features, fm = n.movement_features;
    const Index width = padded(n.units), stride = fp + width, size = P * fp + P * K + K * fm;
    Index movements = 0, services = 0, phases = 0, heads = 0;
    for (Index b = 0; b < count; ++b) {
        const float* row = rows + b * size;
        const float* service = row + P * fp;
        const float* features = service + P * K;
        const Index first = phases;
        float exist = 0.0f;
        for (Index p = 0; p < P; ++p) {
            const float exists = row[p * fp];
            const bool selectable = row[p * fp + SELECTABLE] > 0.5f;
            exist += exists;
            if (exists == 0.0f && !(n.scores && selectable)) {
                continue;
            }
            if (n.scores && selectable) {
                c.head_phase[heads] = phases;
                c.head_cell[heads++] = b * P + p;
            }
            c.phase_row[phases] = b;
            c.phase_share[phases] = exists;
            float* input = c.inputs + phases * stride;
            std::memcpy(input, row + p * fp, sizeof(float) * fp);
            std::memset(input + fp, 0, sizeof(float) * width);
            ++phases;
        }
        const float share = 1.0f / (exist > 1.0f ? exist : 1.0f);
        for (Index e = first; e < phases; ++e) {
            c.phase_share[e] *= share;
        }
        for (Index k = 0; k < K; ++k) {
            const Index before = services;
            Index e = first;
            for (Index p = 0; p < P; ++p) {
                const bool taken = row[p * fp] != 0.0f || (n.scores && row[p * fp + SELECTABLE] > 0.5f);
                if (taken && service[p * K + k] != 0.0f) {
                    c.service_movement[services] = movements;
                    c.service_phase[services] = e;
                    c.service_weight[services++] = service[p * K + k];
                }
                e += taken;
            }
            if (services > before) {
                std::memcpy(c.features + movements++ * fm, features + k * fm, sizeof(float) * fm);
            }
        }
    }
    c.counts[0] = movements;
    c.counts[1] = services;
    c.counts[2] = phases;
    c.counts[3] = heads;
}

INLINE void forward_chunk(
    const Network& n, const Weights& w, const float* rows, Index count, const Chunk& c, float* out
) {
    const Index fp = n.phase_features, fm = n.movement_features, width = w.width, stride = fp + width;
    list(n, rows, count, c);
    const Index movements = c.counts[0], services = c.counts[1], phases = c.counts[2], heads = c.counts[3];
    multiply(movements, fm, c.features, fm, 1, w.movement, width, w.movement_bias, 0, c.movements, width);
    rectify(c.movements, movements * width);
    for (Index s = 0; s < services; ++s) {
        float* served = c.inputs + c.service_phase[s] * stride + fp;
        add(served, c.movements + c.service_movement[s] * width, c.service_weight[s], width);
    }
    multiply(phases, fp + w.units, c.inputs, stride, 1, w.phase, width, w.phase_bias, 0, c.phases, width);
    rectify(c.phases, phases * width);
    std::memset(c.mean, 0, sizeof(float) * count * width);
    for (Index e = 0; e < phases; ++e) {
        add(c.mean + c.phase_row[e] * width, c.phases + e * width, c.phase_share[e], width);
    }
    multiply(count, w.units, c.mean, width, 1, w.mean, width, w.hidden_bias, 0, c.shared, width);
    if (!n.scores) {
        rectify(c.shared, count * width);
        for (Index b = 0; b < count; ++b) {
            out[b] = dot(c.shared + b * width, w.out, width) + *n.out_bias;
        }
        return;
    }
    for (Index cell = 0; cell < count * n.phases; ++cell) {
        out[cell] = MASKED;
    }
    // heads follow the order of the phases, so that runs of them lie side by side
    for (Index h = 0; h < heads;) {
        Index end = h + 1;
        while (end < heads && c.head_phase[end] == c.head_phase[end - 1] + 1) {
            ++end;
        }
        const Index e = c.head_phase[h];
        for (Index t = h; t < end; ++t) {
            std::memcpy(c.hidden + t * width, c.shared + c.phase_row[c.head_phase[t]] * width, sizeof(float) * width);
        }
        float* hidden = c.hidden + h * width;
        multiply(end - h, w.units, c.phases + e * width, width, 1, w.own, width, hidden, width, hidden, width);
        h = end;
    }
    rectify(c.hidden, heads * width);
    for (Index h = 0; h < heads; ++h) {
        out[c.head_cell[h]] = dot(c.hidden + h * width, w.out, width) + *n.out_bias;
    }
}

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

INLINE void backward_chunk(
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
            std::memcpy(d.head_phases + active * width, c.phases + e * width, sizeof(float) * width);
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

Index chunks(Index batch) { return (batch + CHUNK_ROWS - 1) / CHUNK_ROWS; }

Index chunk_size(const Network& n) {
    Room room{nullptr};
    Chunk chunk(n, room);
    return room.used;
}

Index smaller(Index a, Index b) { return a < b ? a : b; }

}  // namespace

extern "C" {

#ifndef SOURCES
#define SOURCES ""
#endif

// The digest of the source of this library, as hatch_build.py took it.
const char* sources() { return SOURCES; }

// Floats that `phases_forward` needs as room: for all chunks if they are to be kept for the way back, else for one.
Index phases_room(const Network* n, Index batch, int keep) {
    Room room{nullptr};
    Weights weights(*n, room);
    return room.used + (keep ? chunks(batch) : 1) * chunk_size(*n);
}

// Floats that `phases_backward` needs beside what was kept.
Index phases_room_back(const Network* n) {
    Room room{nullptr};
    Gradients gradients(*n, room);
    Back back(*n, room);
    return room.used;
}

// rows [B, size] to out [B, P] scores, `MASKED` where a phase may not be chosen, or to out [B] values.
CLONES void phases_forward(const Network* n, const float* rows, Index batch, float* out, float* memory, int keep) {
    Room room{memory};
    Weights weights(*n, room);
    pack(*n, weights, keep);
    const Index size = n->phases * (n->phase_features + n->movements) + n->movements * n->movement_features;
    const Index width = n->scores ? n->phases : 1, step = keep ? chunk_size(*n) : 0;
    for (Index b = 0, at = 0; b < batch; b += CHUNK_ROWS, ++at) {
        Room part{memory + room.used + at * step};
        Chunk chunk(*n, part);
        const Index count = smaller(CHUNK_ROWS, batch - b);
        forward_chunk(*n, weights, rows + b * size, count, chunk, out + b * width);
    }
}

// From the slope of a loss in each output to that in each weight. `kept` is the memory of the way forwards, `grads` has
// room for all weights in the order of `Network`, laid out as they are.
CLONES void phases_backward(const Network* n, Index batch, const float* slope, float* kept, float* grads, float* memory) {
    Room kept_room{kept}, room{memory};
    Weights weights(*n, kept_room);
    Gradients g(*n, room);
    std::memset(memory, 0, sizeof(float) * room.used);
    Back back(*n, room);
    const Index width = n->scores ? n->phases : 1, step = chunk_size(*n);
    for (Index b = 0, at = 0; b < batch; b += CHUNK_ROWS, ++at) {
        Room part{kept + kept_room.used + at * step};
        Chunk chunk(*n, part);
        const Index count = smaller(CHUNK_ROWS, batch - b);
        backward_chunk(*n, weights, count, chunk, slope + b * width, g, back);
    }
    const Index u = n->units, w = weights.width, fm = n->movement_features, inputs = n->phase_features + u;
    const Index hidden = n->scores ? 2 * u : u;
    transpose_back(g.movement, w, u, fm, fm, grads);
    std::memcpy(grads += u * fm, g.movement_bias, sizeof(float) * u);
    transpose_back(g.phase, w, u, inputs, inputs, grads += u);
    std::memcpy(grads += u * inputs, g.phase_bias, sizeof(float) * u);
    grads += u;
    if (n->scores) {
        transpose_back(g.own, w, u, u, hidden, grads);
    }
    transpose_back(g.mean, w, u, u, hidden, grads + (n->scores ? u : 0));
    std::memcpy(grads += u * hidden, g.hidden_bias, sizeof(float) * u);
    std::memcpy(grads += u, g.out, sizeof(float) * u);
    grads[u] = *g.out_bias;
}

}  // extern "C"

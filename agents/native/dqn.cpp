// A gradient step of double DQN in one call: what agents/dqn.py does with torch's operations, on samples that stay where
// they lie in the replay buffer.
//
// Of the target network only the scores that were not known since its weights last changed are computed, of the learned
// one only the head of the action that was taken, in the situation where it was taken.

#include "adam.h"
#include "backward.h"

// The field order is that of `_DQN` in agents/steps.py.
struct DQN {
    Network online, target;
    const float *observations, *next_observations;  // [R, size] the replay buffer
    const Index* actions;                           // [R]
    const float *rewards, *discounts;               // [R]
    float* known;          // [R, P] the target network's scores of the next observations
    Index* known_of;       // [R] of which weights, 0 for none
    Index version;         // number of the target network's weights
    Adam adam;
    float* memory;
};

namespace {

struct Memory {
    Weights target;  // kept from call to call, as is the target network's copy
    float* copy;
    Weights online;
    Gradients gradients;
    Back back;
    Chunk chunk;
    float *scores, *slopes, *flat;
    Index *stale, *best, *only;
    Memory(const DQN& d, Room& room)
        : target(d.target, room),
          copy(room.take(weights_size(d.target))),
          online(d.online, room),
          gradients(d.online, room),
          back(d.online, room),
          chunk(d.online, room) {
        const Index cells = CHUNK_ROWS * d.online.phases;
        scores = room.take(cells);
        slopes = room.take(cells);
        flat = room.take(weights_size(d.online));
        stale = room.take_indices(CHUNK_ROWS);
        best = room.take_indices(CHUNK_ROWS);
        only = room.take_indices(CHUNK_ROWS);
    }
};

// Whether the target network has other weights than at the last call; if so, takes them over.
INLINE bool renewed(const Network& n, float* copy) {
    bool changed = false;
    for_each_weight(n, [&](const float* weight, Index count) {
        changed |= std::memcmp(copy, weight, sizeof(float) * count) != 0;
        std::memcpy(copy, weight, sizeof(float) * count);
        copy += count;
    });
    return changed;
}

}  // namespace

extern "C" {

// Floats that `DQN.memory` needs. They begin as zeros.
Index dqn_room(const DQN* d) {
    Room room{nullptr};
    Memory memory(*d, room);
    return room.used;
}

// One gradient step on the transitions `drawn`; returns the loss. Where that is not finite nothing is changed.
APART double dqn_step(DQN* d, const Index* drawn, Index batch) {
    Room room{d->memory};
    Memory m(*d, room);
    const Network& n = d->online;
    const Index P = n.phases, size = row_size(n);
    if (renewed(d->target, m.copy) || d->version == 0) {
        pack(d->target, m.target, false);
        ++d->version;
    }
    pack(n, m.online, true);
    clear(n, m.gradients);
    double loss = 0.0;
    for (Index b = 0; b < batch; b += CHUNK_ROWS, drawn += CHUNK_ROWS) {
        const Index count = smaller(CHUNK_ROWS, batch - b);
        forward_chunk(n, m.online, Rows{d->next_observations, drawn, nullptr, count, size}, m.chunk, m.scores);
        Index stale = 0;
        for (Index r = 0; r < count; ++r) {
            const float* scores = m.scores + r * P;
            m.best[r] = 0;
            for (Index p = 1; p < P; ++p) {
                m.best[r] = scores[p] > scores[m.best[r]] ? p : m.best[r];
            }
            m.only[r] = d->actions[drawn[r]];
            if (d->known_of[drawn[r]] != d->version) {
                m.stale[stale++] = drawn[r];
            }
        }
        if (stale > 0) {
            forward_chunk(d->target, m.target, Rows{d->next_observations, m.stale, nullptr, stale, size}, m.chunk, m.scores);
            for (Index s = 0; s < stale; ++s) {
                std::memcpy(d->known + m.stale[s] * P, m.scores + s * P, sizeof(float) * P);
                d->known_of[m.stale[s]] = d->version;
            }
        }
        forward_chunk(n, m.online, Rows{d->observations, drawn, m.only, count, size}, m.chunk, m.scores);
        std::memset(m.slopes, 0, sizeof(float) * count * P);
        for (Index r = 0; r < count; ++r) {
            const Index at = drawn[r], cell = r * P + m.only[r];
            const float target = d->rewards[at] + d->discounts[at] * d->known[at * P + m.best[r]];
            const float error = m.scores[cell] - target, size_of = std::fabs(error);
            loss += size_of < 1.0f ? 0.5f * error * error : size_of - 0.5f;  // Huber's
            m.slopes[cell] = (error > 1.0f ? 1.0f : error < -1.0f ? -1.0f : error) / batch;
        }
        backward_chunk(n, m.online, count, m.chunk, m.slopes, m.gradients, m.back);
    }
    loss /= batch;
    if (std::isfinite(loss)) {
        lay_out(n, m.gradients, m.flat);
        update(d->adam, m.flat);
    }
    return loss;
}

}  // extern "C"

// A gradient step of PPO in one call, as agents/ppo.py does it with torch's operations: the clipped objective of Schulman
// et al. 2017 with its bonus for entropy and the squared error of the values.

#include "adam.h"
#include "backward.h"

// The field order is that of `_PPO` in agents/steps.py.
struct PPO {
    Network actor, critic;
    const float* observations;  // [D, size] the rollout's decisions
    const Index* actions;       // [D]
    const float *log_probs, *advantages, *returns;  // [D]
    double clip, entropy, value;                    // the bound of the ratio; what entropy and value count
    Adam adam;
    float* memory;
};

namespace {

struct Memory {
    Weights actor, critic;
    Gradients actor_slopes, critic_slopes;
    Back back;
    Chunk chunk;
    float *out, *slopes, *flat;
    Memory(const PPO& d, Room& room)
        : actor(d.actor, room),
          critic(d.critic, room),
          actor_slopes(d.actor, room),
          critic_slopes(d.critic, room),
          back(d.actor, room),
          chunk(d.actor, room) {
        out = room.take(CHUNK_ROWS * d.actor.phases);
        slopes = room.take(CHUNK_ROWS * d.actor.phases);
        flat = room.take(weights_size(d.actor) + weights_size(d.critic));
    }
};

// The loss of one decision, times the batch's size, and its slope in each score [P].
INLINE double actor_loss(
    const PPO& d, const float* scores, Index action, float advantage, float log_prob, float share, float* slopes
) {
    const Index P = d.actor.phases;
    float most = MASKED;
    for (Index p = 0; p < P; ++p) {
        most = scores[p] <= most ? most : scores[p];
    }
    float sum = 0.0f, entropy = 0.0f;
    for (Index p = 0; p < P; ++p) {
        sum += std::exp(scores[p] - most);
    }
    const float all = most + std::log(sum);
    for (Index p = 0; p < P; ++p) {
        const float log_of = scores[p] - all;
        entropy -= std::exp(log_of) * log_of;
    }
    const float ratio = std::exp(scores[action] - all - log_prob);
    const float low = 1.0 - d.clip, high = 1.0 + d.clip;
    const float bounded_ratio = ratio < low ? low : ratio > high ? high : ratio;
    const float plain = advantage * ratio, clipped = advantage * bounded_ratio;
    const float by = plain > clipped ? 0.0f : plain;  // of the gain in the action's log probability
    for (Index p = 0; p < P; ++p) {
        const float log_of = scores[p] - all, probability = std::exp(log_of);
        const float of_gain = by * ((p == action ? 1.0f : 0.0f) - probability);
        const float of_entropy = -probability * (log_of + entropy);
        slopes[p] = -share * (of_gain + static_cast<float>(d.entropy) * of_entropy);
    }
    return -(plain > clipped ? clipped : plain) - d.entropy * entropy;
}

}  // namespace

extern "C" {

// Floats that `PPO.memory` needs.
Index ppo_room(const PPO* d) {
    Room room{nullptr};
    Memory memory(*d, room);
    return room.used;
}

// One gradient step on the decisions `part`; returns the loss.
APART double ppo_step(const PPO* d, const Index* part, Index batch) {
    Room room{d->memory};
    Memory m(*d, room);
    const Index P = d->actor.phases, size = row_size(d->actor);
    pack(d->actor, m.actor, true);
    pack(d->critic, m.critic, true);
    clear(d->actor, m.actor_slopes);
    clear(d->critic, m.critic_slopes);
    double mean = 0.0, squares = 0.0, loss = 0.0;
    for (Index b = 0; b < batch; ++b) {
        mean += d->advantages[part[b]] / static_cast<double>(batch);
    }
    for (Index b = 0; b < batch; ++b) {
        const double off = d->advantages[part[b]] - mean;
        squares += off * off;
    }
    const bool normal = batch > 1;  // else there is no deviation to divide by
    const float less = normal ? mean : 0.0, over = normal ? std::sqrt(squares / (batch - 1)) + 1e-8 : 1.0;
    const float share = 1.0f / batch;
    for (Index b = 0; b < batch; b += CHUNK_ROWS, part += CHUNK_ROWS) {
        const Rows rows{d->observations, part, nullptr, smaller(CHUNK_ROWS, batch - b), size};
        forward_chunk(d->actor, m.actor, rows, m.chunk, m.out);
        for (Index r = 0; r < rows.count; ++r) {
            const Index at = part[r];
            const float advantage = (d->advantages[at] - less) / over;
            loss += actor_loss(
                *d, m.out + r * P, d->actions[at], advantage, d->log_probs[at], share, m.slopes + r * P
            ) * share;
        }
        backward_chunk(d->actor, m.actor, rows.count, m.chunk, m.slopes, m.actor_slopes, m.back);
        forward_chunk(d->critic, m.critic, rows, m.chunk, m.out);
        for (Index r = 0; r < rows.count; ++r) {
            const float error = m.out[r] - d->returns[part[r]];
            loss += d->value * share * error * error;
            m.slopes[r] = 2.0f * static_cast<float>(d->value) * share * error;
        }
        backward_chunk(d->critic, m.critic, rows.count, m.chunk, m.slopes, m.critic_slopes, m.back);
    }
    lay_out(d->actor, m.actor_slopes, m.flat);
    lay_out(d->critic, m.critic_slopes, m.flat + weights_size(d->actor));
    update(d->adam, m.flat);
    return loss;
}

}  // extern "C"

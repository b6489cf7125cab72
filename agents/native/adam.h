// Adam (Kingma & Ba 2015) on the weights where torch has them, with a bound on the slopes' common norm and a running
// mean of the weights.
#ifndef PHASES_ADAM
#define PHASES_ADAM

#include <cmath>

#include "kernels.h"

// The field order is that of `_Slot` in agents/steps.py: one tensor of weights and what is kept about it.
struct Slot {
    float *weight, *first, *second;  // first and second moments of its slope
    float* steps;                    // [1] so far
    float* average;                  // running mean of the weight, or null
    Index count;
};

// As `_Adam` in agents/steps.py.
struct Adam {
    double rate, beta_first, beta_second, epsilon;
    double most_norm;  // the slopes of all weights together are scaled down to it
    double share;      // of the new weights in the running mean
    Index slots;
    const Slot* slot;
};

namespace {

// By what slopes are multiplied, as torch's `clip_grad_norm_` does it.
INLINE float bounded(const float* slopes, Index count, double most_norm) {
    const Index sums = 16;  // whatever a vector's width: the same sums on each processor
    Vector squares[sums / LANES] = {};
    Index n = 0;
    for (; n + sums <= count; n += sums) {
        for (Index v = 0; v < sums / LANES; ++v) {
            squares[v] += vector(slopes + n + v * LANES) * vector(slopes + n + v * LANES);
        }
    }
    double sum = dot(slopes + n, slopes + n, count - n);
    for (Index lane = 0; lane < sums; ++lane) {
        sum += squares[lane / LANES][lane % LANES];
    }
    const double factor = most_norm / (std::sqrt(sum) + 1e-6);
    return factor > 1.0 ? 1.0f : static_cast<float>(factor);  // what is no number stays so
}

// One step of all weights along their slopes, which lie one after the other.
INLINE void update(const Adam& a, const float* slopes) {
    Index all = 0;
    for (Index s = 0; s < a.slots; ++s) {
        all += a.slot[s].count;
    }
    const float factor = bounded(slopes, all, a.most_norm);
    const float keep_first = a.beta_first, take_first = 1.0 - a.beta_first;
    const float keep_second = a.beta_second, take_second = 1.0 - a.beta_second;
    const float epsilon = a.epsilon, share = a.share;
    for (Index s = 0; s < a.slots; ++s) {
        const Slot& slot = a.slot[s];
        const double steps = *slot.steps += 1.0f;
        const float rate = a.rate / (1.0 - std::pow(a.beta_first, steps));
        const float root = std::sqrt(1.0 - std::pow(a.beta_second, steps));
        float *__restrict weight = slot.weight, *__restrict first = slot.first, *__restrict second = slot.second;
        for (Index i = 0; i < slot.count; ++i) {
            const float slope = factor * slopes[i];
            first[i] = keep_first * first[i] + take_first * slope;
            second[i] = keep_second * second[i] + take_second * slope * slope;
            weight[i] -= rate * first[i] / (std::sqrt(second[i]) / root + epsilon);
        }
        if (slot.average != nullptr) {
            float* __restrict average = slot.average;
            for (Index i = 0; i < slot.count; ++i) {
                average[i] = share < 1.0f ? average[i] + share * (weight[i] - average[i]) : weight[i];
            }
        }
        slopes += slot.count;
    }
}

}  // namespace

#endif

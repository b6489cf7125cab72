// The search of signals/planner/search.py, which says what it means: the same arithmetic in the same order, so that the
// costs are the same to the bit. What cannot change them is left out: streams without vehicles, whose queue stays 0;
// states that are as they were when the same phase was last tried; and plans that cost at least as much as one that has
// reached the horizon.

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

#include "plan.h"

namespace {

const double NEVER = std::numeric_limits<double>::infinity();
const double ROUND_UP = 1e-6, TOLERANCE = 1e-9, FOREVER_S = 1e6;

std::int64_t steps_up(double seconds, double step_s) {
    return static_cast<std::int64_t>(std::max(std::ceil(seconds / step_s - ROUND_UP), 1.0));
}

std::int64_t steps_down(double seconds, double step_s) {
    return static_cast<std::int64_t>(std::max(std::floor(std::min(seconds, FOREVER_S) / step_s + ROUND_UP), 1.0));
}

// One signal's part of the problem, its empty streams left out, and the states of a search. It keeps its memory.
class Search {
public:
    void load(const Problem& of, std::int64_t signal) {
        s = signal;
        P = of.phases;
        N = of.steps;
        step_s = of.step_s;
        count = of.phase_count[s];
        current = of.current[s];
        const std::int64_t begin = of.stream_first[s], end = of.stream_first[s + 1];
        streams.clear();
        for (std::int64_t b = begin; b < end; ++b) {
            double there = of.queue_veh[b];
            for (std::int64_t n = 0; n < N; ++n) {
                there += of.arrivals_veh[b * N + n];
            }
            if (there > 0.0) {
                streams.push_back(b);
            }
        }
        C = static_cast<std::int64_t>(streams.size());
        arrivals.resize(N * C);
        rates.resize(P * C);
        alone.assign(P, 1);
        for (std::int64_t c = 0; c < C; ++c) {
            for (std::int64_t n = 0; n < N; ++n) {
                arrivals[n * C + c] = of.arrivals_veh[streams[c] * N + n];
            }
            for (std::int64_t p = 0; p < P; ++p) {
                rates[p * C + c] = of.rates_vps[streams[c] * P + p];
                alone[p] = alone[p] && rates[p * C + c] != 0.0;
            }
        }
        delay.resize(N + 1);
        bound.resize(N + 1);
        waiting.resize(N + 1);
        last.resize(N + 1);
        changed.resize(N + 1);
        queue.resize((N + 1) * C);
        left.resize(C);
    }

    double least_delay(const Problem& of, std::int64_t first) {
        std::fill(delay.begin(), delay.end(), NEVER);
        delay[0] = waiting[0] = 0.0;
        last[0] = current;
        changed[0] = 0;
        for (std::int64_t c = 0; c < C; ++c) {
            queue[c] = of.queue_veh[streams[c]];
            waiting[0] += queue[c];
        }
        std::int64_t quiet = 0;
        for (std::int64_t stage = 0; quiet < count; ++stage) {
            const std::int64_t phase = (current + stage) % count;
            bool improved = false;
            for (std::int64_t e = 0; e <= N; ++e) {
                bound[e] = delay[e] - TOLERANCE;
            }
            if (stage == 0) {
                improved = phase == first && go_on(of, 0, phase, stage, of.green_in_s[s], of.held_s[s], of.left_s[s]);
            }
            // from the last to the first: a stage ends later than it begins, so none is read after it was written
            for (std::int64_t u = N - 1; stage > 0 && u >= 0; --u) {
                const bool tried = changed[u] <= stage - count;
                if (delay[u] == NEVER || tried || last[u] == phase || (u == 0 && phase != first)) {
                    continue;
                }
                const std::int64_t row = s * P + phase;
                const double lead_s = of.change_s[(s * P + last[u]) * P + phase];
                const double held_s = lead_s + of.least_green_s[row], left_s = lead_s + of.greatest_green_s[row];
                improved = go_on(of, u, phase, stage, lead_s, held_s, left_s) || improved;
            }
            quiet = improved ? 0 : quiet + 1;
        }
        return delay[N];
    }

private:
    // One stage more, from one state for each number of steps; whether any that it leads to is better.
    bool go_on(
        const Problem& of, std::int64_t u, std::int64_t phase, std::int64_t stage, double lead_s, double held_s,
        double left_s
    ) {
        const std::int64_t least = steps_up(held_s, of.step_s);
        std::int64_t most = alone[phase] ? N : steps_down(left_s, of.step_s);
        most = std::min(std::max(most, least), N - u);
        const double* rate = rates.data() + phase * C;
        double total = delay[u], before = waiting[u];
        std::copy_n(queue.data() + u * C, C, left.data());
        bool improved = false;
        for (std::int64_t n = 1; n <= most; ++n) {
            const double green_s = std::min(std::max(static_cast<double>(n) * step_s - lead_s, 0.0), step_s);
            const double* in = arrivals.data() + (u + n - 1) * C;
            for (std::int64_t c = 0; c < C; ++c) {
                left[c] = std::max(left[c] + in[c] - green_s * rate[c], 0.0);
            }
            double now = 0.0;
            for (std::int64_t c = 0; c < C; ++c) {
                now += left[c];
            }
            total += 0.5 * step_s * (before + now);
            before = now;
            if (total >= delay[N]) {
                break;
            }
            const std::int64_t e = u + n;
            if ((n >= least || e == N) && total < bound[e]) {
                delay[e] = bound[e] = total;
                waiting[e] = now;
                last[e] = phase;
                changed[e] = stage;
                std::copy_n(left.data(), C, queue.data() + e * C);
                improved = true;
            }
        }
        return improved;
    }

    std::int64_t s = 0, P = 0, N = 0, C = 0, count = 0, current = 0;
    double step_s = 0.0;
    std::vector<std::int64_t> streams;
    std::vector<double> arrivals, rates;  // [N, C], [P, C]
    std::vector<char> alone;              // [P]
    // by the number of steps used up, [N + 1]: the least delay, what a better one has to be below, the vehicles that
    // stand, the phase that led there, the stage that did; and the queues [N + 1, C]
    std::vector<double> delay, bound, waiting;
    std::vector<std::int64_t> last, changed;
    std::vector<double> queue, left;
};

}  // namespace

extern "C" {

// The cost of each first phase that is wanted; 0, or 1 where memory is short.
int first_costs(const Problem* of) {
    static thread_local Search search;
    try {
        for (std::int64_t s = 0; s < of->signals; ++s) {
            bool loaded = false;
            for (std::int64_t p = 0; p < of->phases; ++p) {
                double& cost = of->costs[s * of->phases + p];
                cost = NEVER;
                if (!of->mask[s * of->phases + p]) {
                    continue;
                }
                if (!loaded) {
                    search.load(*of, s);
                    loaded = true;
                }
                cost = search.least_delay(*of, p);
            }
        }
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}
}

// How a decision goes to the worker and comes back: envs/workers/handover.py, which says what the counters mean and does the same
// where this was not built. Beside a step of SUMO, which leaves nothing of the interpreter in the caches, even a few
// lines of Python take some thirty microseconds.

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>
#include <vector>

struct Step;

// The field order is that of `_Channel` in envs/workers/handover.py.
struct Channel {
    // in shared memory
    std::int64_t *asked, *taken, *answered, *failed, *asker_asleep, *answerer_asleep;
    double* decided_s;                 // that all decisions of the episode took so far
    const double* thought_s;           // how long the answerer looks for the next question before it sleeps
    // descriptors: on which this side sleeps, and which wakes the other
    std::int64_t bell, other;
    // this side's own: how many waits to go without looking, and to how many a look in vain has led
    std::int64_t skip, skipped;
};

extern "C" double step_to_next(Step* s);

namespace {

using Clock = std::chrono::steady_clock;
using Seconds = std::chrono::duration<double>;

const int LOOKS = 32;                  // between two offers of the core to others
const std::int64_t MOST_SKIPPED = 63;
const double TAKEN_S = 300e-6;         // as long as it takes to be woken on another core, mostly
const double GIVEN_WAY_S = 50e-6;      // for so long somebody else had the core, if anybody

std::int64_t seen(const std::int64_t* counter) { return __atomic_load_n(counter, __ATOMIC_SEQ_CST); }

void set(std::int64_t* counter, std::int64_t value) { __atomic_store_n(counter, value, __ATOMIC_SEQ_CST); }

bool is_asked(const Channel* c) { return seen(c->asked) != seen(c->answered); }

bool is_answered(const Channel* c) { return !is_asked(c) || seen(c->failed) != 0; }

void relax() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

// How often somebody else has been given this thread's core while it could have gone on. Time alone does not tell: where
// the machine is virtual, the core itself is away now and then, and nobody else gets it then.
long displaced() {
#ifdef RUSAGE_THREAD
    rusage used;
    return getrusage(RUSAGE_THREAD, &used) == 0 ? used.ru_nivcsw : 0;
#else
    static long asked = 0;             // not told here: as if it had always been somebody
    return ++asked;
#endif
}

// Looks at something until it is so: for a while, and no longer than the core is free.
template <typename Condition>
bool seen_within(Condition is_so, double spin_s) {
    const long before = displaced();
    const Clock::time_point began = Clock::now();
    for (Clock::time_point last = began, now;; last = now) {
        for (int n = 0; n < LOOKS; ++n) {
            if (is_so()) {
                return true;
            }
            relax();
        }
        sched_yield();
        now = Clock::now();
        const bool away = Seconds(now - last).count() > GIVEN_WAY_S;
        if (Seconds(now - began).count() >= spin_s || (away && displaced() != before)) {
            return is_so();
        }
    }
}

// Looks before going to sleep, as long as that pays. Who looks where cores are scarce may keep the very one that the
// other side waits for, whatever it offers, and is made to wait for that afterwards: so each look in vain doubles the
// number of waits that do without.
template <typename Look>
bool soon(Channel* c, Look look, double spin_s) {
    if (spin_s <= 0.0 || --c->skip >= 0) {
        return false;
    }
    const bool found = look();
    c->skipped = found ? c->skipped / 2 : std::min(2 * c->skipped + 1, MOST_SKIPPED);
    c->skip = c->skipped;
    return found;
}

void ring(std::int64_t fd) {
    const std::uint64_t one = 1;       // a failure is found out by whoever waits
    while (write(static_cast<int>(fd), &one, sizeof one) < 0 && errno == EINTR) {
    }
}

void silence(std::int64_t fd) {
    char rung[4096];
    while (read(static_cast<int>(fd), rung, sizeof rung) < 0 && errno == EINTR) {
    }
}

pollfd readable(std::int64_t fd) { return {static_cast<int>(fd), POLLIN, 0}; }

}  // namespace

extern "C" {

void channel_ask(Channel* c) {
    set(c->asked, seen(c->asked) + 1);
    if (seen(c->answerer_asleep) != 0) {
        ring(c->other);
    }
}

void channel_answer(Channel* c) {
    set(c->failed, 0);
    set(c->answered, seen(c->asked));
    if (seen(c->asker_asleep) != 0) {
        ring(c->other);
    }
}

// Until one of several is answered, one of the other descriptors can be read or `doze_s` is over; whether one is answered.
// Looks for `spin_s` before it sleeps.
int channel_wait(
    Channel* const* channels, std::int64_t count, const int* others, std::int64_t other_count, double spin_s,
    double doze_s
) {
    const auto any = [=] {
        for (std::int64_t n = 0; n < count; ++n) {
            if (is_answered(channels[n])) {
                return true;
            }
        }
        return false;
    };
    const auto all_taken = [=] {
        for (std::int64_t n = 0; n < count; ++n) {
            if (seen(channels[n]->taken) != seen(channels[n]->asked)) {
                return false;
            }
        }
        return true;
    };
    // who takes what is asked while we look has another core than ours, and is not kept from it
    const auto look = [=] { return seen_within(all_taken, TAKEN_S) && seen_within(any, spin_s); };
    if (any() || (count > 0 && soon(channels[0], look, spin_s))) {
        return 1;
    }
    for (std::int64_t n = 0; n < count; ++n) {
        set(channels[n]->asker_asleep, 1);
    }
    if (!any()) {                      // looked at once more: one may have answered before it could see that we sleep
        std::vector<pollfd> fds;
        for (std::int64_t n = 0; n < count; ++n) {
            fds.push_back(readable(channels[n]->bell));
        }
        for (std::int64_t n = 0; n < other_count; ++n) {
            fds.push_back(readable(others[n]));
        }
        const bool rung = poll(fds.data(), fds.size(), static_cast<int>(doze_s * 1000.0)) > 0;
        for (std::int64_t n = 0; rung && n < count; ++n) {
            if (fds[static_cast<std::size_t>(n)].revents != 0) {
                silence(channels[n]->bell);
            }
        }
    }
    for (std::int64_t n = 0; n < count; ++n) {
        set(channels[n]->asker_asleep, 0);
    }
    return any();
}

// Until something is asked: 0; 1 where a command can be read.
int channel_await(Channel* c, std::int64_t commands, double doze_s) {
    const double spin_s = *c->thought_s;
    const auto asked = [=] { return is_asked(c); };
    const auto look = [=] { return seen_within(asked, spin_s); };
    bool now = asked() || soon(c, look, spin_s);
    for (; !now; now = asked()) {
        set(c->answerer_asleep, 1);
        pollfd fds[] = {readable(c->bell), readable(commands)};
        // looked at once more: it may have been asked before it could be seen that we sleep
        const bool found = !is_asked(c) && poll(fds, 2, static_cast<int>(doze_s * 1000.0)) > 0;
        set(c->answerer_asleep, 0);
        if (found && fds[0].revents != 0) {
            silence(c->bell);
        }
        if (found && fds[1].revents != 0) {
            return 1;
        }
    }
    set(c->taken, seen(c->asked));
    return 0;
}

// Takes decisions and answers them until a command can be read: 1. Where one fails: what `step_to_next` said, and no answer.
double channel_serve(Channel* c, Step* s, std::int64_t commands, double doze_s) {
    while (channel_await(c, commands, doze_s) == 0) {
        const Clock::time_point began = Clock::now();
        const double reached = step_to_next(s);
        if (reached < 0.0) {
            return reached;
        }
        *c->decided_s += Seconds(Clock::now() - began).count();
        channel_answer(c);
    }
    return 1.0;
}

}  // extern "C"

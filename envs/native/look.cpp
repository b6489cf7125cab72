// All that is read after a step, in one call from Python: lanes, signals, sums and calls, mask.

#include <cstdint>

struct LaneGetters;
struct Names;
struct Machine;
struct Tables;

extern "C" {

int read_lanes(const LaneGetters* getters, const Names* names, const double* speed_mps, double* out);
void measure(const Tables* tables);
void machine_mask(const Machine* machine, double now_s, const std::uint8_t* calls, std::uint8_t* mask);
void machine_show(
    const Machine* machine, double now_s, std::int64_t* phase, std::uint8_t* changing, double* green_age_s,
    double* since_served_s
);

// The field order is that of `_Look` in envs/kernel.py.
struct Look {
    const LaneGetters* getters;
    const Names* names;
    const double* speed_mps;
    const Machine* machine;
    const Tables* tables;
    // the snapshot
    double* time_s;
    double* lanes;
    std::int64_t* phase;
    std::uint8_t* changing;
    double* green_age_s;
    double* since_served_s;
    std::uint8_t* mask;
    const std::uint8_t* calls;
};

// -1 where a lane could not be read.
int look(const Look* l, double now_s) {
    if (read_lanes(l->getters, l->names, l->speed_mps, l->lanes) != 0) {
        return -1;
    }
    *l->time_s = now_s;
    machine_show(l->machine, now_s, l->phase, l->changing, l->green_age_s, l->since_served_s);
    measure(l->tables);
    machine_mask(l->machine, now_s, l->calls, l->mask);
    return 0;
}

}  // extern "C"

// All that is read after a step, in one call from Python: lanes, signals, sums and calls, mask; and what is told of it,
// reward and observation.

#include <cstdint>

struct LaneTable;
struct Machine;
struct Tables;

extern "C" {

int read_lanes(const LaneTable* table, double* out);
void measure(const Tables* tables);
void observe(const Tables* tables, float* rows);
void minus_sum(const Tables* tables, int quantity, double* reward);
void machine_mask(const Machine* machine, double now_s, const std::uint8_t* calls, std::uint8_t* mask);
void machine_show(
    const Machine* machine, double now_s, std::int64_t* phase, std::uint8_t* changing, double* green_age_s,
    double* since_served_s
);

// The field order is that of `_Look` in envs/native/kernel.py.
struct Look {
    const LaneTable* table;
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
    // what is told of it; null where it is not
    double* reward;
    float* observation;
    std::int64_t quantity;             // that the reward is minus the sum of
};

// -1 where a lane could not be read.
int look(const Look* l, double now_s) {
    if (read_lanes(l->table, l->lanes) != 0) {
        return -1;
    }
    *l->time_s = now_s;
    machine_show(l->machine, now_s, l->phase, l->changing, l->green_age_s, l->since_served_s);
    measure(l->tables);
    machine_mask(l->machine, now_s, l->calls, l->mask);
    if (l->reward != nullptr) {
        minus_sum(l->tables, static_cast<int>(l->quantity), l->reward);
    }
    if (l->observation != nullptr) {
        observe(l->tables, l->observation);
    }
    return 0;
}

}  // extern "C"

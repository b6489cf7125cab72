// Batches of libsumo's getters: one call from Python for a whole list of lanes or loops.
//
// libsumo's Python module holds SUMO itself and exports its C++ interface. The functions below are given the address of
// such a getter and call it for each name, so that nothing but that public interface is relied on. Plain C outside:
// envs/sumo/reading.py loads this with ctypes, and does without where it was not built.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <exception>
#include <string>
#include <vector>

#include "names.h"

namespace {

using IntGetter = int (*)(const std::string&);
using DoubleGetter = double (*)(const std::string&);

}  // namespace

// The field order is that of `_LaneTable` in envs/sumo/reading.py.
struct LaneTable {
    IntGetter vehicles, halting;
    DoubleGetter mean_speed, waiting;
    const Names* names;                // [L] in the order in which they are asked for
    const std::int64_t* place;         // [L] of each among the numbers
    const double* speed_mps;           // [L] of each
};

namespace {

// out[n] = getter(names[n]); -1 where a getter raises, such as for an unknown name.
template <typename Getter>
int read_each(Getter getter, const Names* names, double* out) {
    try {
        for (std::size_t n = 0; n < names->list.size(); ++n) {
            out[n] = getter(names->list[n]);
        }
        return 0;
    } catch (...) {
        return -1;
    }
}

}  // namespace

extern "C" {

#ifndef SOURCES
#define SOURCES ""
#endif

// The digest of all sources of this library, as hatch_build.py took it.
const char* sources() { return SOURCES; }

// The address of a symbol in a library that is already loaded; null where it has none.
void* find_symbol(const char* library, const char* symbol) {
    void* handle = dlopen(library, RTLD_LAZY | RTLD_NOLOAD);
    if (handle == nullptr) {
        return nullptr;
    }
    void* found = dlsym(handle, symbol);
    dlclose(handle);  // the module keeps it loaded
    return found;
}

Names* new_names(const char* const* names, std::size_t count) {
    try {
        return new Names{std::vector<std::string>(names, names + count)};
    } catch (const std::exception&) {
        return nullptr;
    }
}

void free_names(Names* names) { delete names; }

int read_ints(IntGetter getter, const Names* names, double* out) { return read_each(getter, names, out); }

int read_doubles(DoubleGetter getter, const Names* names, double* out) { return read_each(getter, names, out); }

// out[4, L]: vehicles, halting vehicles, waiting time, rate of time loss; what an empty lane holds is 0.
int read_lanes(const LaneTable* t, double* out) {
    const std::size_t count = t->names->list.size();
    std::fill(out, out + 4 * count, 0.0);
    try {
        for (std::size_t n = 0; n < count; ++n) {
            const std::string& lane = t->names->list[n];
            const double vehicles = t->vehicles(lane);
            if (vehicles == 0.0) {
                continue;
            }
            double* to = out + t->place[n];
            to[0] = vehicles;
            to[count] = t->halting(lane);
            to[2 * count] = t->waiting(lane);
            to[3 * count] = vehicles * std::max(1.0 - t->mean_speed(lane) / t->speed_mps[n], 0.0);
        }
        return 0;
    } catch (...) {
        return -1;
    }
}

}  // extern "C"

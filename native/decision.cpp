// A decision in two calls from Python: `step` shows what was asked for and runs SUMO to the next decision, `look` reads
// what came of it. SUMO's Python module holds SUMO itself and exports its public C++ interface, which is called here.

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cxxabi.h>
#include <dlfcn.h>
#include <exception>
#include <typeinfo>

#include "decision.h"

namespace {

const double FAILED = -1.0;

std::string demangled(const char* symbol) {
    char* text = abi::__cxa_demangle(symbol, nullptr, nullptr, nullptr);
    const std::string found = text == nullptr ? "" : text;
    std::free(text);
    return found;
}

// The address of `libsumo::SPACE::NAME`, null where the library at that path has none with these very parameters. Both
// the symbol that is looked for and what the one that is found has to read as follow from the type of the pointer
// through which it will be called. A symbol does not tell what its function returns.
template <typename Result, typename... Parameters>
bool find(const char* path, const std::string& space, const std::string& name, Result (**found)(Parameters...)) {
    const char* type = typeid(void(Parameters...)).name();  // F, v for void, the parameters, E
    const std::string parameters = std::string(type).substr(2);
    const std::string readable = demangled(type).substr(sizeof "void " - 1);
    const std::string symbol = "_ZN7libsumo" + std::to_string(space.size()) + space + std::to_string(name.size()) + name
        + "E" + parameters.substr(0, parameters.size() - 1);
    void* library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (library == nullptr) {
        return false;
    }
    void* address = dlsym(library, symbol.c_str());
    dlclose(library);                  // the module keeps it loaded
    Dl_info is;
    if (address == nullptr || dladdr(address, &is) == 0 || is.dli_saddr != address || is.dli_sname == nullptr) {
        return false;
    }
    if (std::string(is.dli_fname) != path || demangled(is.dli_sname) != "libsumo::" + space + "::" + name + readable) {
        return false;
    }
    *found = reinterpret_cast<Result (*)(Parameters...)>(address);
    return true;
}

}  // namespace

extern "C" {

#ifndef SOURCES
#define SOURCES ""
#endif

// The digest of all sources of this library, as hatch_build.py took it.
const char* sources() { return SOURCES; }

// Fills in libsumo's functions; whether all of them are there. `path`: of the loaded library.
int find_sumo(const char* path, Sumo* sumo) {
    try {
        return find(path, "TrafficLight", "setPhase", &sumo->set_phase) && find(path, "Simulation", "step", &sumo->step)
            && find(path, "Lane", "getLastStepVehicleNumber", &sumo->vehicles)
            && find(path, "Lane", "getLastStepHaltingNumber", &sumo->halting)
            && find(path, "Lane", "getWaitingTime", &sumo->waiting)
            && find(path, "Lane", "getLastStepMeanSpeed", &sumo->mean_speed)
            && find(path, "Lane", "getLastStepVehicleIDs", &sumo->vehicle_ids)
            && find(path, "Vehicle", "getLanePosition", &sumo->position)
            && find(path, "Vehicle", "getSpeed", &sumo->speed)
            && find(path, "Vehicle", "getNextTLS", &sumo->next_signals);
    } catch (const std::exception&) {
        return 0;
    }
}

Names* new_names(const char* const* names, std::size_t count) {
    try {
        return new Names{std::vector<std::string>(names, names + count)};
    } catch (const std::exception&) {
        return nullptr;
    }
}

// out[4]: what SUMO says of one lane; -1 where it raises.
int ask_lane(const Decision* d, const char* lane, double* out) {
    try {
        const std::string name = lane;
        out[0] = d->sumo.vehicles(name);
        out[1] = d->sumo.halting(name);
        out[2] = d->sumo.waiting(name);
        out[3] = d->sumo.mean_speed(name);
        return 0;
    } catch (...) {
        return -1;
    }
}

// Asks for a phase per signal and runs SUMO until the next decision: the moment reached. FAILED where SUMO failed, which
// no exception tells beyond this function: `said` does.
double decision_step(Decision* d, double now_s, const std::int64_t* wanted) {
    using Clock = std::chrono::steady_clock;
    // SUMO counts whole milliseconds; sums of floats would drift away from them
    const double until_s = std::min(std::nearbyint((now_s + d->interval_s) * 1000.0) / 1000.0, d->end_s);
    try {
        const std::int64_t changes = machine_request(d, now_s, wanted, d->calls);
        for (std::int64_t n = 0; n < changes; ++n) {
            d->sumo.set_phase(d->tls_ids->list[static_cast<std::size_t>(d->signal[n])], static_cast<int>(d->row[n]));
        }
        const Clock::time_point began = Clock::now();
        d->sumo.step(until_s);
        *d->sumo_s += std::chrono::duration<double>(Clock::now() - began).count();
    } catch (const std::exception& error) {
        std::snprintf(d->said, sizeof d->said, "%s", error.what());
        return FAILED;
    } catch (...) {
        std::snprintf(d->said, sizeof d->said, "unknown exception");
        return FAILED;
    }
    machine_advance(d, until_s);
    return until_s;
}

// Fills the snapshot: lanes and signals, and where they follow from the lanes calls and mask. -1 where a lane could not
// be read. What an empty lane holds is 0.
int decision_look(const Decision* d, double now_s) {
    const std::int64_t L = d->lanes;
    std::fill(d->read, d->read + 4 * L, 0.0);
    try {
        for (std::int64_t n = 0; n < L; ++n) {
            const std::string& lane = d->lane_ids->list[static_cast<std::size_t>(n)];
            const double vehicles = d->sumo.vehicles(lane);
            if (vehicles == 0.0) {
                continue;
            }
            double* to = d->read + d->place[n];
            to[0] = vehicles;
            to[L] = d->sumo.halting(lane);
            to[2 * L] = d->sumo.waiting(lane);
            to[3 * L] = vehicles * std::max(1.0 - d->sumo.mean_speed(lane) / d->speed_mps[n], 0.0);
        }
        if (d->approaching) {
            read_approaches(d);
        }
    } catch (...) {
        return -1;
    }
    *d->time_s = now_s;
    machine_show(d, now_s);
    if (d->measures) {
        measure(d);
    }
    if (d->masks) {
        machine_mask(d, now_s, d->calls, d->mask);
    }
    return 0;
}

}  // extern "C"

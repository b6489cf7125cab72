// What a decision reads and writes. The field order is that of `_Decision` in envs/sumo/decision.py.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

// Names that Python hands over once: of lanes or signals.
struct Names {
    std::vector<std::string> list;
};

// Weighted sums over few elements each: those of row r are index and weight from first[r] to first[r + 1]. numpy adds
// up rows of one width, padded with zeros, which decides the order and is why the width is known here, too.
struct Gather {
    const std::int64_t* first;         // [count + 1]
    const std::int32_t* index;
    const double* weight;
    std::int64_t count, width;
};

// `TraCINextTLSData` of libsumo's TraCIDefs.h.
struct NextSignal {
    std::string tls_id;
    int link;
    double distance_m;
    char state;
};

// Functions of libsumo's public C++ interface.
struct Sumo {
    void (*set_phase)(const std::string&, int);
    void (*step)(double);
    int (*vehicles)(const std::string&);
    int (*halting)(const std::string&);
    double (*waiting)(const std::string&);
    double (*mean_speed)(const std::string&);
    std::vector<std::string> (*vehicle_ids)(const std::string&);
    double (*position)(const std::string&);
    double (*speed)(const std::string&);
    std::vector<NextSignal> (*next_signals)(const std::string&);
};

// Which link each vehicle on a shared lane passes next, as it was last asked.
struct Known {
    std::unordered_map<std::string, std::int64_t> link, seen;
};

// envs/sumo/approaches.py: `ApproachTables`, with the arrays of the layout that they index.
struct Approaches {
    std::int64_t count, width, bins;   // A, W, and of arrivals
    double bin_s;
    std::int64_t ahead;                // whether arrivals are read, too
    const Names* lane_ids;             // [A]
    Known* known;
    const std::int64_t* lane;          // [A]
    const std::int64_t* first;         // [A + 1]
    const std::uint8_t* asks;          // [A]
    const std::int64_t* head;          // [A]
    const std::int64_t* target;        // [T]
    const double* weight;              // [T]
    const double* distance_m;          // [T]
    const std::int64_t* stream;        // [C]
    const std::int64_t* streams;       // [C]
    const std::int64_t* of_link;       // [C, W]
    const std::int64_t* signal;        // [C]
    const double* length_m;            // [L]
    const double* limit_mps;           // [L]
    const double* usual;               // [B] shares where nobody is seen
    double* heading;                   // [B] workspace: vehicles whose link is known
    double* unsure;                    // [C, bins] and of shared lanes those whose link is not
};

struct Decision {
    std::int64_t signals, phases, movements, lanes, streams;  // S, P, K, L, B
    Sumo sumo;
    const Names* tls_ids;              // [S]
    const Names* lane_ids;             // [L] in the order in which they are asked for
    const std::int64_t* place;         // [L] of each among the numbers
    const double* speed_mps;           // [L] of each
    // signals/machine.py: constants, and state, which both sides write
    double interval_s, end_s;
    std::int64_t settles;
    const std::uint8_t* exists;        // [S, P]
    const std::int64_t* entry;         // [S, P, P]
    const double* change_s;            // [S, P, P]
    const double* min_green_s;         // [S, P]
    const double* max_green_s;         // [S, P]
    const double* settling_s;          // [S, P, P, P]
    std::int64_t groups;               // G, most groups of links of a signal
    const std::int64_t* red_count;     // [S] of its own
    const std::int64_t* red_rounds;    // [S] most rounds that serving them takes
    const std::uint8_t* red_serves;    // [S, G, P]
    const double* red_s;               // [S, 3] bound, longest change, longest round
    std::int64_t* current;             // [S]
    double* green_since_s;             // [S]
    double* settled_at_s;              // [S, P]
    double* served_until_s;            // [S, P]
    double* green_until_s;             // [S, P]
    double* held_until_s;              // [S]
    double* max_until_s;               // [S]
    std::uint8_t* blocked;             // [S, P] phases that are of no use, as their exits are full
    // signals/layout.py
    Gather zone, phase_streams, movement_streams, phase_exits, movement_exits;
    std::int64_t controlled;           // C
    Approaches approaches;
    const std::int64_t* stream_signal; // [B]
    const std::int64_t* stream_lane;   // [B] ascending
    const std::uint8_t* stream_served; // [B, P]
    const double* service;             // [S, P, K]
    const double* phase_size;          // [S, P]
    const double* movement_size;       // [S, K]
    // signals/observations.py
    const float* phase_factor;         // [14]
    const float* movement_factor;      // [9]
    float limit;
    std::int32_t walks;                // whether any movement is a crossing
    std::int64_t measures;             // whether calls follow from the lanes, not from detectors
    std::int64_t masks;                // whether the mask follows from these alone, without a spillback guard
    std::int64_t approaching;          // whether `decision_look` reads who is on the way, too
    // the snapshot
    double* time_s;                    // [1]
    double* read;                      // [4, L] vehicles, halting, waiting, loss
    double* share;                     // [B]
    double* arriving;                  // [B, bins]
    double* lead;                      // [B]
    const double* pedestrians;         // [S, K]
    std::int64_t* phase;               // [S]
    std::uint8_t* changing;            // [S]
    double* green_in_s;                // [S]
    double* green_age_s;               // [S]
    double* since_served_s;            // [S, P]
    std::uint8_t* mask;                // [S, P]
    std::uint8_t* calls;               // [S, P]
    // workspace
    double* on_streams;                // [B, 5] side by side for each element
    double* on_phases;                 // [S, P, 5]
    std::uint8_t* allowed;             // [S, P]
    double* waits_s;                   // [G] how long each group of a signal has been red
    std::int64_t* order;               // [G] those that are, the longest first
    std::uint8_t* left;                // [G] whether no round has been found for one of these yet
    std::int64_t* signal;              // [S] which signals change
    std::int64_t* row;                 // [S] and what each then shows
    double* sumo_s;                    // [1] that SUMO's own steps took so far
    char said[1024];                   // SUMO's last words
};

extern "C" {

// machine.cpp
void machine_mask(const Decision* d, double now_s, const std::uint8_t* calls, std::uint8_t* mask);
std::int64_t machine_request(const Decision* d, double now_s, const std::int64_t* wanted, const std::uint8_t* calls);
void machine_advance(const Decision* d, double now_s);
void machine_show(const Decision* d, double now_s);

// approaches.cpp
void read_approaches(const Decision* d);

// measures.cpp
void measure(const Decision* d);

}  // extern "C"

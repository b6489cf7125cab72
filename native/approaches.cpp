// Who is on the way to each stop line: the same in the same order as envs/sumo/approaches.py, which says what it means.
// A test holds the two together, to the bit.

#include <algorithm>
#include <cstddef>

#include "decision.h"

namespace {

const std::int64_t NO_LINK = -1, MOST_LINKS = 1 << 20;
const double HALTING_MPS = 0.1, ACCELERATION_MPS2 = 2.6;

// The stream of a shared lane to which a link belongs, or -1.
std::int64_t stream_of(const Approaches& of, std::int64_t link, std::int64_t c) {
    if (link < 0 || link / MOST_LINKS != of.signal[c] || link % MOST_LINKS >= of.width) {
        return -1;
    }
    return of.of_link[c * of.width + link % MOST_LINKS];
}

// The number of the link that a vehicle passes next, or NO_LINK where that is none of these signals'.
std::int64_t next_link(const Decision* d, const std::string& vehicle) {
    const std::vector<NextSignal> ahead = d->sumo.next_signals(vehicle);
    if (ahead.empty()) {
        return NO_LINK;
    }
    const std::vector<std::string>& names = d->tls_ids->list;
    const auto found = std::find(names.begin(), names.end(), ahead.front().tls_id);
    return found == names.end() ? NO_LINK : (found - names.begin()) * MOST_LINKS + ahead.front().link;
}

// The link of a vehicle on a lane, asked for where it has to be.
std::int64_t link_of(const Decision* d, std::int64_t a, const std::string& vehicle, bool first) {
    const Approaches& of = d->approaches;
    const auto known = of.known->link.find(vehicle);
    std::int64_t link = known == of.known->link.end() ? NO_LINK : known->second;
    bool leads = false;
    for (std::int64_t t = of.first[a]; t < of.first[a + 1] && !leads; ++t) {
        leads = stream_of(of, link, of.target[t]) >= 0;
    }
    if (!leads || (first && of.head[a] >= 0)) {
        link = next_link(d, vehicle);
    }
    of.known->seen[vehicle] = link;
    return link;
}

// The lead of one shared lane's streams.
void write_lead(const Decision* d, std::int64_t c, const std::vector<std::int64_t>& queue) {
    const Approaches& of = d->approaches;
    std::fill_n(d->lead + of.stream[c], of.streams[c], 0.0);
    const std::int64_t first = queue.back();
    const auto other = std::find_if(queue.rbegin(), queue.rend(), [first](std::int64_t b) { return b != first; });
    d->lead[first] = static_cast<double>(other - queue.rbegin())
        / static_cast<double>(std::count(queue.begin(), queue.end(), first));
}

// The vehicles of one lane.
void read_lane(const Decision* d, std::int64_t a) {
    const Approaches& of = d->approaches;
    const double length_m = of.length_m[of.lane[a]], limit_mps = std::max(of.limit_mps[of.lane[a]], HALTING_MPS);
    const std::vector<std::string> vehicles = d->sumo.vehicle_ids(of.lane_ids->list[static_cast<std::size_t>(a)]);
    std::vector<std::int64_t> queue;  // of whom the lane's vehicles are; the last is the first
    for (const std::string& vehicle : vehicles) {
        const std::int64_t link = of.asks[a] ? link_of(d, a, vehicle, &vehicle == &vehicles.back()) : NO_LINK;
        const double speed_mps = of.ahead ? d->sumo.speed(vehicle) : 0.0;
        const bool moves = speed_mps >= HALTING_MPS;
        const double left_m = moves ? length_m - d->sumo.position(vehicle) : 0.0;
        const double slower = std::max(limit_mps - speed_mps, 0.0);
        const double lag_s = slower * slower / (2.0 * ACCELERATION_MPS2 * limit_mps);
        for (std::int64_t t = of.first[a]; t < of.first[a + 1]; ++t) {
            const std::int64_t c = of.target[t];
            const std::int64_t b = of.streams[c] == 1 ? of.stream[c] : stream_of(of, link, c);
            if (b >= 0) {
                of.heading[b] += 1.0;
                if (c == of.head[a]) {
                    queue.push_back(b);
                }
            }
            if (moves) {
                const double way_s = (left_m + of.distance_m[t]) / limit_mps + lag_s;
                const std::int64_t bin = static_cast<std::int64_t>(way_s / of.bin_s);
                double* row = b >= 0 ? d->arriving + b * of.bins : of.unsure + c * of.bins;
                row[std::min(std::max(bin, std::int64_t{0}), of.bins - 1)] += of.weight[t];
            }
        }
    }
    if (!queue.empty()) {
        write_lead(d, of.head[a], queue);
    }
}

}  // namespace

extern "C" {

Known* new_known() {
    try {
        return new Known;
    } catch (const std::exception&) {
        return nullptr;
    }
}

// Another episode begins.
void forget(const Decision* d) { d->approaches.known->link.clear(); }

// Fills the snapshot's arrivals and shares; the lanes have been read.
void read_approaches(const Decision* d) {
    const Approaches& of = d->approaches;
    if (of.ahead) {
        std::fill(d->arriving, d->arriving + d->streams * of.bins, 0.0);
    }
    std::fill(d->lead, d->lead + d->streams, 1.0);
    std::fill(of.heading, of.heading + d->streams, 0.0);
    std::fill(of.unsure, of.unsure + d->controlled * of.bins, 0.0);
    of.known->seen.clear();
    for (std::int64_t a = 0; a < of.count; ++a) {
        if (d->read[of.lane[a]] > 0.0) {
            read_lane(d, a);
        }
    }
    std::swap(of.known->link, of.known->seen);
    for (std::int64_t c = 0; c < d->controlled; ++c) {
        if (of.streams[c] == 1) {
            continue;
        }
        const std::int64_t first = of.stream[c], last = first + of.streams[c];
        double total = 0.0;
        for (std::int64_t b = first; b < last; ++b) {
            total += of.heading[b];
        }
        for (std::int64_t b = first; b < last; ++b) {
            d->share[b] = total > 0.0 ? of.heading[b] / total : of.usual[b];
            for (std::int64_t n = 0; n < of.bins; ++n) {
                d->arriving[b * of.bins + n] += of.unsure[c * of.bins + n] * d->share[b];
            }
        }
    }
}

}  // extern "C"

// The phase network forwards and backwards in one call each: what agents/network.py defines and torch's own operations
// compute as well, three to four times as slowly, since they are many and most of what they multiply is zero.

#include "backward.h"

extern "C" {

#ifndef SOURCES
#define SOURCES ""
#endif

// The digest of the source of this library, as hatch_build.py took it.
const char* sources() { return SOURCES; }

// Floats that `phases_forward` needs as room: for all chunks if they are to be kept for the way back, else for one.
Index phases_room(const Network* n, Index batch, int keep) {
    Room room{nullptr};
    Weights weights(*n, room);
    return room.used + (keep ? chunks(batch) : 1) * chunk_size(*n);
}

// Floats that `phases_backward` needs beside what was kept.
Index phases_room_back(const Network* n) {
    Room room{nullptr};
    Gradients gradients(*n, room);
    Back back(*n, room);
    return room.used;
}

// rows [B, size] to out [B, P] scores, `MASKED` where a phase may not be chosen, or to out [B] values.
APART void phases_forward(const Network* n, const float* rows, Index batch, float* out, float* memory, int keep) {
    Room room{memory};
    Weights weights(*n, room);
    pack(*n, weights, keep);
    const Index size = row_size(*n), width = n->scores ? n->phases : 1, step = keep ? chunk_size(*n) : 0;
    for (Index b = 0, at = 0; b < batch; b += CHUNK_ROWS, ++at) {
        Room part{memory + room.used + at * step};
        Chunk chunk(*n, part);
        const Rows part_of{rows + b * size, nullptr, nullptr, smaller(CHUNK_ROWS, batch - b), size};
        forward_chunk(*n, weights, part_of, chunk, out + b * width);
    }
}

// From the slope of a loss in each output to that in each weight. `kept` is the memory of the way forwards, `grads` has
// room for all weights in the order of `Network`, laid out as they are.
APART void phases_backward(const Network* n, Index batch, const float* slope, float* kept, float* grads, float* memory) {
    Room kept_room{kept}, room{memory};
    Weights weights(*n, kept_room);
    Gradients g(*n, room);
    clear(*n, g);
    Back back(*n, room);
    const Index width = n->scores ? n->phases : 1, step = chunk_size(*n);
    for (Index b = 0, at = 0; b < batch; b += CHUNK_ROWS, ++at) {
        Room part{kept + kept_room.used + at * step};
        Chunk chunk(*n, part);
        const Index count = smaller(CHUNK_ROWS, batch - b);
        backward_chunk(*n, weights, count, chunk, slope + b * width, g, back);
    }
    lay_out(*n, g, grads);
}

}  // extern "C"

// Vectors and the products of small matrices, for the phase network.
#ifndef PHASES_KERNELS
#define PHASES_KERNELS

#include <cstddef>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))
#define APART __attribute__((noinline, unused))

// As wide as the registers are: wider vectors would be taken apart in memory, at twenty times the cost. The package
// builds a library for each width, and agents/compiled.py loads the widest that the processor has.
#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

namespace {

using Index = std::int64_t;
typedef float Vector __attribute__((vector_size(VECTOR_BYTES), aligned(4), may_alias));

const Index LANES = VECTOR_BYTES / sizeof(float);  // floats of a Vector
const Index CHUNK_ROWS = 32;  // of the batch
const int ROWS = 6;           // of a block of a product: with two vectors of columns, all that 16 registers hold
const Index LINE = 16;        // floats that come from the memory together
const Index AHEAD = 4;        // rows that are asked for before they are needed
const Index SELECTABLE = 1;   // in a phase's features; the first one is whether it exists
const float MASKED = -1e9f;

INLINE Index padded(Index width) { return (width + LANES - 1) / LANES * LANES; }

INLINE const Vector& vector(const float* at) { return *reinterpret_cast<const Vector*>(at); }
INLINE Vector& vector(float* at) { return *reinterpret_cast<Vector*>(at); }

// What is not a number stays so: a training has to notice.
INLINE Vector rectified(Vector of) { return of < 0.0f ? Vector{} : of; }

// One block of `multiply`: R rows and V vectors of columns, summed in registers.
template <int R, int V, bool RECTIFY>
INLINE void block(
    Index depth, const float* a, Index row, Index column, const float* b, Index width, const float* start, Index step,
    float* c, Index stride
) {
    Vector sum[R][V];
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            sum[r][v] = start == nullptr ? Vector{} : vector(start + r * step + v * LANES);
        }
    }
    for (Index j = 0; j < depth; ++j) {
        Vector factor[V];
        for (int v = 0; v < V; ++v) {
            factor[v] = vector(b + j * width + v * LANES);
        }
        for (int r = 0; r < R; ++r) {
            const float by = a[r * row + j * column];
            for (int v = 0; v < V; ++v) {
                sum[r][v] += by * factor[v];
            }
        }
    }
    for (int r = 0; r < R; ++r) {
        for (int v = 0; v < V; ++v) {
            vector(c + r * stride + v * LANES) = RECTIFY ? rectified(sum[r][v]) : sum[r][v];
        }
    }
}

// Two vectors of columns of `multiply`, or the one that is left: R rows at a time, then the rest.
template <int R, int V, bool RECTIFY>
INLINE void rows_of(
    Index rows, Index depth, const float* a, Index row, Index column, const float* b, Index width, const float* start,
    Index step, float* c, Index stride
) {
    Index r = 0;
    for (; r + R <= rows; r += R) {
        const float* from = start == nullptr ? nullptr : start + r * step;
        block<R, V, RECTIFY>(depth, a + r * row, row, column, b, width, from, step, c + r * stride, stride);
    }
    if constexpr (R > 1) {
        const int fewer = R > 4 ? 4 : R > 2 ? 2 : 1;
        const float* from = start == nullptr ? nullptr : start + r * step;
        rows_of<fewer, V, RECTIFY>(
            rows - r, depth, a + r * row, row, column, b, width, from, step, c + r * stride, stride
        );
    }
}

// c[r] = start[r] + sum over j of a[r, j] b[j], rectified or not, rows of `width` floats, a multiple of a vector's. `row`
// and `column` are the steps within a, so that it may lie transposed; `step` is that from one start to the next, 0 for
// the same one.
template <bool RECTIFY = false>
APART void multiply(
    Index rows, Index depth, const float* a, Index row, Index column, const float* b, Index width, const float* start,
    Index step, float* c, Index stride
) {
    for (Index w = 0; w < width; w += 2 * LANES) {
        const float* from = start == nullptr ? nullptr : start + w;
        if (width - w >= 2 * LANES) {
            rows_of<ROWS, 2, RECTIFY>(rows, depth, a, row, column, b + w, width, from, step, c + w, stride);
        } else {
            rows_of<ROWS, 1, RECTIFY>(rows, depth, a, row, column, b + w, width, from, step, c + w, stride);
        }
    }
}

// at[n] where the rectified value is above 0, else 0.
INLINE void rectify_back(float* at, const float* rectified, Index count) {
    for (Index n = 0; n < count; ++n) {
        at[n] = rectified[n] > 0.0f ? at[n] : 0.0f;
    }
}

INLINE void add(float* to, const float* from, float factor, Index count) {
    for (Index n = 0; n < count; ++n) {
        to[n] += factor * from[n];
    }
}

// A few floats: less than a call of memcpy takes.
INLINE void copy(float* to, const float* from, Index count) {
    for (; count >= 4; count -= 4, to += 4, from += 4) {
        std::memcpy(to, from, 4 * sizeof(float));
    }
    for (Index n = 0; n < count; ++n) {
        to[n] = from[n];
    }
}

// As many as a multiple of a vector's.
INLINE void copy_vectors(float* to, const float* from, Index width) {
    for (Index n = 0; n < width; n += LANES) {
        vector(to + n) = vector(from + n);
    }
}

INLINE float dot(const float* a, const float* b, Index count) {
    float sum = 0.0f;
    for (Index n = 0; n < count; ++n) {
        sum += a[n] * b[n];
    }
    return sum;
}

// out[r] = rows[r] · with. Each sum is taken in the order of its elements, so that vectors of any width give the same;
// four rows side by side, since an addition has to wait for the one before.
INLINE void dots(const float* rows, Index count, const float* with, Index width, float* out) {
    Index r = 0;
    for (; r + 4 <= count; r += 4) {
        const float* row = rows + r * width;
        float sum[4] = {}, products[4][LANES];
        for (Index n = 0; n < width; n += LANES) {
            for (int i = 0; i < 4; ++i) {
                vector(products[i]) = vector(row + i * width + n) * vector(with + n);
            }
            for (Index lane = 0; lane < LANES; ++lane) {
                for (int i = 0; i < 4; ++i) {
                    sum[i] += products[i][lane];
                }
            }
        }
        std::memcpy(out + r, sum, sizeof sum);
    }
    for (; r < count; ++r) {
        out[r] = dot(rows + r * width, with, width);
    }
}

// [out, in] to [in, out], rows padded with zeros; `from` has rows of `columns` floats.
INLINE void transpose(const float* from, Index outs, Index ins, Index columns, float* to, Index width) {
    std::memset(to, 0, sizeof(float) * ins * width);
    for (Index o = 0; o < outs; ++o) {
        for (Index i = 0; i < ins; ++i) {
            to[i * width + o] = from[o * columns + i];
        }
    }
}

// And back, without the padding.
INLINE void transpose_back(const float* from, Index width, Index outs, Index ins, Index columns, float* to) {
    for (Index o = 0; o < outs; ++o) {
        for (Index i = 0; i < ins; ++i) {
            to[o * columns + i] = from[i * width + o];
        }
    }
}

INLINE void widen(const float* from, Index rows, Index columns, Index count, float* to, Index width) {
    std::memset(to, 0, sizeof(float) * rows * width);
    for (Index r = 0; r < rows; ++r) {
        std::memcpy(to + r * width, from + r * columns, sizeof(float) * count);
    }
}

}  // namespace

#endif

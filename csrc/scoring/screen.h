// What each instruction set provides to the scoring engine: a tile of approximate float32 scores that decides
// what it safely can, and the one exact score.
#pragma once

#include <cstdint>

#include "rows.h"

namespace lvm {

struct ScreenKernels {
    int queries;     // of one tile
    int candidates;  // of one tile, at most 64

    // q: [dim][queries], c: [dim][candidates]. Bit i of above[j]: the float32 score of (query j, candidate i)
    // is > high[j]; bit i of open[j]: it is neither that nor < low[j].
    void (*tile)(const float* q, const float* c, int64_t dim, const float* low, const float* high,
                 uint64_t* above, uint64_t* open);

    // THE score: float64, in one order of summation. Partial sum j (of 32) takes elements j, j + 32, j + 64,
    // ... in turn; then the upper half of the partial sums is added to the lower half until one is left. A
    // product of two float32 is exact in float64, so fused and separate multiply-adds agree.
    double (*dot)(const float* a, const float* b, int64_t dim);

    // Row i as float32: widened, or int8 * scale rounded to float32.
    void (*widen)(const Rows& rows, int64_t i, float* out);

    // x * factor in float64, rounded to float32, in place.
    void (*scale)(float* x, int64_t dim, double factor);
};

// The kernels of the level in force.
const ScreenKernels& screen_kernels();

// |float32 tile score - exact score| <= screen_error(dim, ||q||, ||c||): Higham, Accuracy and Stability of
// Numerical Algorithms, eq. 3.5, plus what flushed subnormals can cost. Infinite where float32 could
// overflow.
double screen_error(int64_t dim, double query_norm, double candidate_norm);

namespace scalar {
extern const ScreenKernels screen_kernels;
}
namespace neon {
extern const ScreenKernels screen_kernels;
}
namespace avx2 {
extern const ScreenKernels screen_kernels;
}
namespace avx512 {
extern const ScreenKernels screen_kernels;
}

}  // namespace lvm

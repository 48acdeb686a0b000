#include "scoring/screen.h"

#include <limits>

#include "simd/level.h"

namespace lvm {

const ScreenKernels& screen_kernels() {
    switch (current_level()) {
#if defined(__x86_64__)
        case Level::avx512:
            return avx512::screen_kernels;
        case Level::avx2:
            return avx2::screen_kernels;
#elif defined(__aarch64__)
        case Level::neon:
            return neon::screen_kernels;
#endif
        default:
            return scalar::screen_kernels;
    }
}

double screen_error(int64_t dim, double query_norm, double candidate_norm) {
    constexpr double kUnit = 0x1p-24, kLeastNormal = 0x1p-126, kSafe = 1e37;
    const double steps = (static_cast<double>(dim) + 2) * kUnit;
    const double size = query_norm * candidate_norm;
    if (!(size < kSafe && steps < 0.5)) return std::numeric_limits<double>::infinity();
    const double flushed = static_cast<double>(dim) * kLeastNormal * (1 + query_norm + candidate_norm);
    return 1.000001 * (steps / (1 - steps) * size + flushed);
}

}  // namespace lvm

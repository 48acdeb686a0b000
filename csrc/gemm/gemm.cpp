#include "gemm/gemm.h"

#include <algorithm>

#include "runtime/thread_pool.h"

namespace lvm {

AlignedBuffer<float> gemm_panels(const float* matrix, int64_t depth, int64_t columns, int64_t row_step,
                                 int64_t column_step) {
    const int64_t width = kernels_in_force<GemmKernels>().panel_width, panels = (columns + width - 1) / width;
    AlignedBuffer<float> buffer(panels * depth * width);
    parallel_for(panels, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t p = begin; p < end; ++p) {
            const int64_t first = p * width, count = std::min(width, columns - first);
            float* panel = buffer.data() + first * depth;
            for (int64_t d = 0; d < depth; ++d) {
                const float* source = matrix + d * row_step + first * column_step;
                for (int64_t c = 0; c < count; ++c) panel[d * width + c] = source[c * column_step];
                std::fill(panel + d * width + count, panel + (d + 1) * width, 0.0f);
            }
        }
    });
    return buffer;
}

}  // namespace lvm

#include "scoring/row_norms.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <stdexcept>

#include "scoring/screen.h"
#include "simd/thread_pool.h"

namespace lvm {

void load_row(const Rows& rows, int64_t i, double norm, float* out) {
    const ScreenKernels& kernels = screen_kernels();
    kernels.widen(rows, i, out);
    if (norm != 0) kernels.scale(out, rows.dim, 1.0 / norm);
}

std::vector<double> checked_norms(const Rows& rows, bool directions, const std::string& what) {
    constexpr int64_t kRowsPerPiece = 256;
    const ScreenKernels& kernels = screen_kernels();
    std::vector<double> norms(static_cast<size_t>(rows.rows));
    std::atomic<int64_t> fault{rows.rows};
    parallel_for(rows.rows, kRowsPerPiece, [&](int64_t begin, int64_t end, int) {
        std::vector<float> row(static_cast<size_t>(rows.dim));
        for (int64_t i = begin; i < end; ++i) {
            kernels.widen(rows, i, row.data());
            const double norm = std::sqrt(kernels.dot(row.data(), row.data(), rows.dim));
            norms[static_cast<size_t>(i)] = norm;
            if (std::isfinite(norm) && (norm > 0 || !directions)) continue;
            int64_t first = fault.load();
            while (i < first && !fault.compare_exchange_weak(first, i)) {
            }
        }
    });
    if (const int64_t i = fault.load(); i < rows.rows) {
        const bool zero = norms[static_cast<size_t>(i)] == 0;
        throw std::invalid_argument(what + ": row " + std::to_string(i) +
                                    (zero ? " is all zeros; expected a direction, as normalize=True needs"
                                          : " holds NaN or infinity; expected finite numbers"));
    }
    return norms;
}

}  // namespace lvm

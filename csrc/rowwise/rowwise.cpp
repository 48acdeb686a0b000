#include "rowwise/rowwise.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "core/alignment.h"
#include "core/conversions.h"
#include "rowwise/row_kernels.h"
#include "runtime/level.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kBytesPerPiece = 96 << 10;  // a share of work that stays in a core's own caches
constexpr int64_t kBytesToShare = 512 << 10;  // below this, one core finishes before another could help
constexpr int64_t kBytesToBypass =
    8 << 20;  // results this large would only push everything else out of the caches

constexpr double kShrink = 0x1p-64;  // takes any row's norm back into float64's range
constexpr double kInfinity = std::numeric_limits<double>::infinity();

const RowKernels& kernels() { return kernels_in_force<RowKernels>(); }

template <class T>
double value(const T* x, const T* delta, int64_t i, double shrink = 1) {
    const double first = shrink * widen(load_unaligned(x + i));
    return delta ? first + shrink * widen(load_unaligned(delta + i)) : first;
}

template <class T>
bool all_finite(const T* x, int64_t dim) {
    for (int64_t i = 0; i < dim; ++i) {
        if (!std::isfinite(static_cast<double>(widen(load_unaligned(x + i))))) return false;
    }
    return true;
}

// Scaled by the largest magnitude, so that no square overflows or vanishes.
template <class T>
double careful_norm(const T* x, const T* delta, int64_t dim, double shrink = 1) {
    double largest = 0;
    for (int64_t i = 0; i < dim; ++i) largest = std::max(largest, std::abs(value(x, delta, i, shrink)));
    if (largest == 0) return 0;
    double sum = 0;
    for (int64_t i = 0; i < dim; ++i) {
        const double part = value(x, delta, i, shrink) / largest;
        sum += part * part;
    }
    return largest * std::sqrt(sum);
}

RowFault float64_forward(const RowSpan& span, bool) {
    RowFault fault;
    for (int64_t r = span.begin; r < span.end; ++r) {
        const double* delta = span.delta ? span.delta->row<double>(r) : nullptr;
        const int argument =
            careful_forward(span.x.row<double>(r), delta, span.out.row<double>(r), span.x.dim, span.eps);
        if (argument >= 0 && fault.row < 0) fault = {r, argument};
    }
    return fault;
}

void float64_backward(const RowSpan& span, const Rows& grad_out) {
    for (int64_t r = span.begin; r < span.end; ++r) {
        const double* delta = span.delta ? span.delta->row<double>(r) : nullptr;
        careful_backward(span.x.row<double>(r), delta, grad_out.row<double>(r), span.out.row<double>(r),
                         span.x.dim, span.eps);
    }
}

// Calls body(begin, end) over all rows, on several threads when there is enough to do.
template <class Body>
void over_rows(int64_t rows, int64_t row_bytes, const Body& body) {
    if (rows == 0) return;
    if (rows * row_bytes < kBytesToShare) return body(0, rows);
    const int64_t grain = std::max<int64_t>(1, kBytesPerPiece / std::max<int64_t>(row_bytes, 1));
    parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) { body(begin, end); });
}

}  // namespace

template <class T>
int careful_forward(const T* x, const T* delta, T* out, int64_t dim, double eps) {
    if (!all_finite(x, dim)) return 0;
    if (delta && !all_finite(delta, dim)) return 1;
    double norm = careful_norm(x, delta, dim) + eps, shrink = 1;
    if (!(norm < kInfinity)) {  // a norm past float64's range: that of a smaller row, where eps is nothing
        shrink = kShrink;
        norm = careful_norm(x, delta, dim, shrink);
    }
    for (int64_t i = 0; i < dim; ++i) {
        const T result = narrow<T>(value(x, delta, i, shrink) / norm);
        std::memcpy(out + i, &result, sizeof(T));
    }
    return -1;
}

template <class T>
void careful_backward(const T* x, const T* delta, const T* grad_out, T* grad_x, int64_t dim, double eps) {
    const double norm = careful_norm(x, delta, dim);
    const double s = 1.0 / (norm + eps);
    double along = 0;
    for (int64_t i = 0; i < dim && norm > 0; ++i) {
        along += (value(x, delta, i) / norm) * static_cast<double>(widen(load_unaligned(grad_out + i)));
    }
    for (int64_t i = 0; i < dim; ++i) {
        const double grad = widen(load_unaligned(grad_out + i));
        const double pull = norm < kInfinity ? s * grad - s * s * along * value(x, delta, i) : 0;
        const T result = narrow<T>(pull);
        std::memcpy(grad_x + i, &result, sizeof(T));
    }
}

template int careful_forward(const float*, const float*, float*, int64_t, double);
template int careful_forward(const F16*, const F16*, F16*, int64_t, double);
template int careful_forward(const BF16*, const BF16*, BF16*, int64_t, double);
template void careful_backward(const float*, const float*, const float*, float*, int64_t, double);
template void careful_backward(const F16*, const F16*, const F16*, F16*, int64_t, double);
template void careful_backward(const BF16*, const BF16*, const BF16*, BF16*, int64_t, double);

RowFault normalize_rows(const Rows& x, const Rows* delta, const MutableRows& out, double eps) {
    const auto forward = x.dtype == DType::float64 ? float64_forward : kernels().forward;
    const int64_t row_bytes = x.dim * bytes_of(x.dtype);
    const bool aligned = on_cache_line(out.data) && row_bytes % kCacheLine == 0;
    const bool bypass = aligned && x.rows * row_bytes >= kBytesToBypass;
    RowFault fault;
    std::mutex mutex;
    over_rows(x.rows, row_bytes, [&](int64_t begin, int64_t end) {
        const RowFault found = forward({x, delta, out, begin, end, eps}, bypass);
        if (found.row < 0) return;
        const std::lock_guard<std::mutex> lock(mutex);
        if (fault.row < 0 || found.row < fault.row) fault = found;
    });
    return fault;
}

void normalize_rows_backward(const Rows& x, const Rows* delta, const Rows& grad_out,
                             const MutableRows& grad_x, double eps) {
    const auto backward = x.dtype == DType::float64 ? float64_backward : kernels().backward;
    over_rows(x.rows, x.dim * bytes_of(x.dtype),
              [&](int64_t begin, int64_t end) { backward({x, delta, grad_x, begin, end, eps}, grad_out); });
}

}  // namespace lvm

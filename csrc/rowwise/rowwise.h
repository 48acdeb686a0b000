// Row kernels: normalise, reconstruct, and their gradients.
//
//   l2_normalize(x)           = x / (||x|| + eps)
//   reconstruct(x, d)         = l2_normalize(x + d)
//   backward, v = x (+ d), n = ||v||, s = 1 / (n + eps):   grad_v = s g - (s^2 / n) (v . g) v,   and s g
//   where n = 0
//
// float16, bfloat16 and float32 rows are computed in float32, float64 rows in float64. Rows whose float32 sum
// of squares would overflow or vanish are computed in float64. Error of a float32 result: at most (dim / 16 +
// 16) * 2^-24 of the row's largest value.
#pragma once

#include "core/views.h"

namespace lvm {

// The first row that holds NaN or infinity (row < 0: none), and in which argument: 0 = x, 1 = delta.
struct RowFault {
    int64_t row = -1;
    int argument = 0;
};

// `delta` may be null (plain l2_normalize). All arguments share dtype, rows and dim; out is contiguous. The
// result of a row with a fault is unspecified.
RowFault normalize_rows(const Rows& x, const Rows* delta, const MutableRows& out, double eps);

// grad_x (which is grad_delta too) from grad_out; no row is a fault here: NaN gradients flow on.
void normalize_rows_backward(const Rows& x, const Rows* delta, const Rows& grad_out,
                             const MutableRows& grad_x, double eps);

}  // namespace lvm

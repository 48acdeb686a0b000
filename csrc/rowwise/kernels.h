// What each instruction set provides to rowwise.cpp, and the careful path they all share.
#pragma once

#include "rowwise/rowwise.h"

namespace lvm {

struct RowSpan {
    const Rows& x;
    const Rows* delta;
    const MutableRows& out;
    int64_t begin, end;
    double eps;
};

struct RowKernels {
    // `bypass` writes around the caches: right for results larger than they are, needs 64-byte aligned rows.
    RowFault (*forward)(const RowSpan& span, bool bypass);
    void (*backward)(const RowSpan& span, const Rows& grad_out);
};

namespace scalar {
extern const RowKernels row_kernels;
}
namespace neon {
extern const RowKernels row_kernels;
}
namespace avx2 {
extern const RowKernels row_kernels;
}
namespace avx512 {
extern const RowKernels row_kernels;
}

// One row in float64, safe for any magnitude. Returns the argument at fault (0 = x, 1 = delta) or -1.
template <class T>
int careful_forward(const T* x, const T* delta, T* out, int64_t dim, double eps);
template <class T>
void careful_backward(const T* x, const T* delta, const T* grad_out, T* grad_x, int64_t dim, double eps);

}  // namespace lvm

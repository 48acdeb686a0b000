// What each instruction set provides to rowwise.cpp, and the careful path they all share.
#pragma once

#include "rowwise/rowwise.h"
#include "runtime/level.h"

namespace lvm {

struct RowSpan {
    const Rows& x;
    const Rows* delta;
    const MutableRows& out;
    int64_t begin, end;
    double eps;
};

struct RowKernels {
    static constexpr bool has(Level) { return false; }  // no more than every table has
    template <Level>
    static const RowKernels& table();

    // `bypass` writes around the caches: right for results larger than they are, needs 64-byte aligned rows.
    RowFault (*forward)(const RowSpan& span, bool bypass);
    void (*backward)(const RowSpan& span, const Rows& grad_out);
};

template <>
const RowKernels& RowKernels::table<Level::scalar>();
template <>
const RowKernels& RowKernels::table<Level::neon>();
template <>
const RowKernels& RowKernels::table<Level::avx2>();
template <>
const RowKernels& RowKernels::table<Level::avx512>();

// One row in float64, safe for any magnitude. Returns the argument at fault (0 = x, 1 = delta) or -1.
template <class T>
int careful_forward(const T* x, const T* delta, T* out, int64_t dim, double eps);
template <class T>
void careful_backward(const T* x, const T* delta, const T* grad_out, T* grad_x, int64_t dim, double eps);

}  // namespace lvm

// The row kernels of one instruction set: normalise, reconstruct and their gradients (rowwise.h), in float32
// sums. Included by the file of each level, after its Vec.
#pragma once

#include "rowwise/row_kernels.h"

namespace lvm::LVM_LEVEL::rowwise {
namespace {

// Outside this range the float32 sum of squares may have lost digits to overflow or underflow.
constexpr float kLeastSquares = 1e-30f, kMostSquares = 1e37f;

template <class T>
Vec load_part(const T* p, int64_t count) {
    T part[W] = {};
    std::memcpy(part, p, static_cast<size_t>(count) * sizeof(T));
    return load(part);
}

template <class T>
void store_part(T* p, Vec a, int64_t count) {
    T part[W];
    store(part, a);
    std::memcpy(p, part, static_cast<size_t>(count) * sizeof(T));
}

// One row of v = x, or of v = x + delta.
template <class T, bool kDelta>
struct Row {
    const T* x;
    const T* delta;

    Vec at(int64_t i) const { return kDelta ? add(load(x + i), load(delta + i)) : load(x + i); }
    Vec part(int64_t i, int64_t count) const {
        return kDelta ? add(load_part(x + i, count), load_part(delta + i, count)) : load_part(x + i, count);
    }
};

// term(i) is a full vector, last(i, count) the first `count` lanes; both give a product to be summed.
template <class Accumulate, class Last>
float sum_over(int64_t dim, Accumulate accumulate, Last last) {
    Vec sums[4] = {set1(0), set1(0), set1(0), set1(0)};
    int64_t i = 0;
    for (; i + 4 * W <= dim; i += 4 * W) {
        for (int k = 0; k < 4; ++k) sums[k] = accumulate(i + k * W, sums[k]);
    }
    for (; i + W <= dim; i += W) sums[0] = accumulate(i, sums[0]);
    if (i < dim) sums[1] = last(i, dim - i, sums[1]);
    return sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
}

template <class R>
float sum_of_squares(const R& row, int64_t dim) {
    const auto square = [](Vec v, Vec total) { return fma(v, v, total); };
    return sum_over(
        dim, [&](int64_t i, Vec total) { return square(row.at(i), total); },
        [&](int64_t i, int64_t count, Vec total) { return square(row.part(i, count), total); });
}

template <class T, bool kDelta>
RowFault forward(const RowSpan& span, bool bypass) {
    const int64_t dim = span.x.dim;
    RowFault fault{-1, 0};  // not its default constructor: that would be a shared inline function
    for (int64_t r = span.begin; r < span.end; ++r) {
        const Row<T, kDelta> row{span.x.row<T>(r), kDelta ? span.delta->row<T>(r) : nullptr};
        T* out = span.out.row<T>(r);
        const float squares = sum_of_squares(row, dim);
        if (!(squares > kLeastSquares && squares < kMostSquares)) {
            const int argument = careful_forward(row.x, row.delta, out, dim, span.eps);
            if (argument >= 0 && fault.row < 0) fault = {r, argument};
            continue;
        }
        const Vec scale = set1(1.0f / (__builtin_sqrtf(squares) + static_cast<float>(span.eps)));
        int64_t i = 0;
        if (bypass) {
            for (; i + W <= dim; i += W) stream(out + i, mul(row.at(i), scale));
        } else {
            for (; i + W <= dim; i += W) store(out + i, mul(row.at(i), scale));
        }
        if (i < dim) store_part(out + i, mul(row.part(i, dim - i), scale), dim - i);
    }
    if (bypass) fence();
    return fault;
}

template <class T, bool kDelta>
void backward(const RowSpan& span, const Rows& grad_out) {
    const int64_t dim = span.x.dim;
    for (int64_t r = span.begin; r < span.end; ++r) {
        const Row<T, kDelta> row{span.x.row<T>(r), kDelta ? span.delta->row<T>(r) : nullptr};
        const T* grad = grad_out.row<T>(r);
        T* out = span.out.row<T>(r);
        const float squares = sum_of_squares(row, dim);
        if (!(squares > kLeastSquares && squares < kMostSquares)) {
            careful_backward(row.x, row.delta, grad, out, dim, span.eps);
            continue;
        }
        const float along = sum_over(
            dim, [&](int64_t i, Vec total) { return fma(row.at(i), load(grad + i), total); },
            [&](int64_t i, int64_t count, Vec total) {
                return fma(row.part(i, count), load_part(grad + i, count), total);
            });
        const float norm = __builtin_sqrtf(squares);
        const float s = 1.0f / (norm + static_cast<float>(span.eps));
        const Vec scale = set1(s), pull = set1(-(s * along) * (s / norm));
        int64_t i = 0;
        for (; i + W <= dim; i += W) store(out + i, fma(pull, row.at(i), mul(scale, load(grad + i))));
        if (i < dim) {
            const int64_t count = dim - i;
            store_part(out + i, fma(pull, row.part(i, count), mul(scale, load_part(grad + i, count))), count);
        }
    }
}

template <class T>
RowFault forward_of(const RowSpan& span, bool bypass) {
    return span.delta ? forward<T, true>(span, bypass) : forward<T, false>(span, bypass);
}

template <class T>
void backward_of(const RowSpan& span, const Rows& grad_out) {
    span.delta ? backward<T, true>(span, grad_out) : backward<T, false>(span, grad_out);
}

RowFault any_forward(const RowSpan& span, bool bypass) {
    switch (span.x.dtype) {
        case DType::float16:
            return forward_of<F16>(span, bypass);
        case DType::bfloat16:
            return forward_of<BF16>(span, bypass);
        default:
            return forward_of<float>(span, bypass);
    }
}

void any_backward(const RowSpan& span, const Rows& grad_out) {
    switch (span.x.dtype) {
        case DType::float16:
            return backward_of<F16>(span, grad_out);
        case DType::bfloat16:
            return backward_of<BF16>(span, grad_out);
        default:
            return backward_of<float>(span, grad_out);
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::rowwise

template <>
const lvm::RowKernels& lvm::RowKernels::table<lvm::Level::LVM_LEVEL>() {
    static constexpr RowKernels kernels{LVM_LEVEL::rowwise::any_forward, LVM_LEVEL::rowwise::any_backward};
    return kernels;
}

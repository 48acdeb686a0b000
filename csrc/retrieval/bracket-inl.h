// What integer products say of a score: it lies in a bracket. Included by screen-inl.h.
#pragma once

#include <cstdint>

#include "retrieval/screen.h"

namespace lvm::LVM_LEVEL::retrieval {
namespace {

// score -+ error of W queries, or of one.
template <class T>
struct Bracket {
    T lower, upper;
};

// What an offset adds to the error: the roundings of the float32 arithmetic, each 2^-24 of it.
constexpr float kOffsetSlack = 0x1p-20f;

// |score - coarse score| <= norm_error * ||c|| + rest_share * coarse_rest, by Cauchy-Schwarz; of prefixes
// also
// + ||tail of q|| ||tail of c||. Scores beyond float32 give NaN, which decides nothing.
template <bool kOffset, bool kTail = false>
inline Bracket<Vec> coarse_bracket(const QueryPanel& panel, const CodeBounds& row, const int32_t* products,
                                   float offset, int64_t lane) {
    Vec score = mul(load(products + lane), set1(row.scale));
    Vec error = mul(load(panel.rest_share + lane), set1(row.coarse_rest));
    error = fma(load(panel.norm_error + lane), set1(row.norm), error);
    if constexpr (kTail) error = fma(load(panel.tail_share + lane), set1(row.fine_rest), error);
    if constexpr (kOffset) {
        const Vec taken = mul(load(panel.inverse_unit + lane), set1(offset));
        score = sub(score, taken);
        error = fma(taken, set1(kOffsetSlack), error);
    }
    return {sub(score, error), add(score, error)};
}

inline Bracket<float> coarse_bracket(const QueryPanel& panel, const CodeBounds& row, int32_t product,
                                     float offset, int64_t lane) {
    const float taken = panel.inverse_unit[lane] * offset;
    const float score = static_cast<float>(product) * row.scale - taken;
    const float error =
        panel.norm_error[lane] * row.norm + panel.rest_share[lane] * row.coarse_rest + taken * kOffsetSlack;
    return {score - error, score + error};
}

// The same with the fine products added; what they leave out is bounded by the fine rests.
inline Bracket<Vec> fine_bracket(const QueryPanel& panel, const CodeBounds& row, const int32_t* products,
                                 const int32_t* fine_products, float offset, int64_t lane) {
    const Vec steps = fma(load(products + lane), set1(kFineSteps), load(fine_products + lane));
    const Vec taken = mul(load(panel.inverse_unit + lane), set1(offset));
    const Vec score = sub(mul(steps, set1(row.scale / kFineSteps)), taken);
    Vec error = mul(load(panel.norm_error2 + lane), set1(row.norm));
    error = fma(load(panel.rest_share2 + lane), set1(row.fine_rest), error);
    error = fma(load(panel.cross_share + lane), set1(row.coarse_rest), error);
    error = fma(taken, set1(kOffsetSlack), error);
    return {sub(score, error), add(score, error)};
}

inline Bracket<float> fine_bracket(const QueryPanel& panel, const CodeBounds& row, int32_t product,
                                   int32_t fine_product, float offset, int64_t lane) {
    const float steps = static_cast<float>(product) * kFineSteps + static_cast<float>(fine_product);
    const float taken = panel.inverse_unit[lane] * offset;
    const float score = steps * (row.scale / kFineSteps) - taken;
    const float error = panel.norm_error2[lane] * row.norm + panel.rest_share2[lane] * row.fine_rest +
                        panel.cross_share[lane] * row.coarse_rest + taken * kOffsetSlack;
    return {score - error, score + error};
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::retrieval

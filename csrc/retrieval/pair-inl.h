// The integer products of one query with one candidate. Included by screen-inl.h, after the Ints of the
// level (see screen_dot-inl.h).
#pragma once

#include "retrieval/codes.h"

namespace lvm::LVM_LEVEL::retrieval {
namespace {

struct PairCodes {
    const int8_t* coarse;
    const int8_t* fine;
};

// coarse x fine + fine x coarse. Rows of codes, as code_offset tells; `sums` is that of all the candidate's
// codes.
inline int32_t pair_product(PairCodes query, PairCodes candidate, int32_t sums, int64_t chunks) {
    constexpr int kBytes = 4 * kLanes32;
    Ints first = all(0), second = all(0);
    for (int64_t at = 0; at < chunks * kTileBytes; at += kTileBytes) {
        for (int64_t d = at; d < at + kTileDims; d += kBytes) {
            first = multiply_add(first, queries(query.coarse + d), load_ints(candidate.fine + d));
            second = multiply_add(second, queries(query.fine + d), load_ints(candidate.coarse + d));
        }
    }
    // Unsigned: what is too much may pass 2^31 before it is taken off.
    const uint32_t product = static_cast<uint32_t>(sum_of(add(first, second)));
    return static_cast<int32_t>(product - static_cast<uint32_t>(kSurplus * sums));
}

// coarse x coarse; `sum` is that of the candidate's coarse codes.
inline int32_t coarse_pair_product(const int8_t* query, const int8_t* candidate, int32_t sum,
                                   int64_t chunks) {
    constexpr int kBytes = 4 * kLanes32;
    Ints products = all(0);
    for (int64_t at = 0; at < chunks * kTileBytes; at += kTileBytes) {
        for (int64_t d = at; d < at + kTileDims; d += kBytes)
            products = multiply_add(products, queries(query + d), load_ints(candidate + d));
    }
    const uint32_t product = static_cast<uint32_t>(sum_of(products));
    return static_cast<int32_t>(product - static_cast<uint32_t>(kSurplus * sum));
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::retrieval

// Scoring by levels whose instructions multiply four bytes and add into a 32-bit lane. Included by the file
// of each such level, after these of its own:
//   Ints, kLanes32 (queries of a vector), kRowsAtOnce (candidates whose sums fit the registers beside the
//   panel's), kFewOpen (pairs that cost about as much one by one as the fine products of a block)
//   all(int32_t): the same number, or four codes, in every lane
//   load_ints(const void*), store_ints(int32_t*, Ints), add(Ints, Ints), sum_of(Ints)
//   queries(const int8_t*): kLanes32 x 4 codes of queries, as multiply_add takes them
//   multiply_add(Ints sum, Ints q, Ints c): too much by kSurplus x the sum of c's codes
#pragma once

#include <cstring>

#include "retrieval/screen.h"

namespace lvm::LVM_LEVEL::retrieval {
namespace {

class Product {
  public:
    static constexpr int64_t few_open = kFewOpen;
    static int64_t steps(int64_t) { return 1; }

    template <bool kAdd, class Between>
    void multiply(const int8_t* rows, const float* row_sums, const int8_t* panel, int64_t chunks,
                  int32_t* out, const Between& between) const {
        between(0);
        constexpr int kRest = kTileRows % kRowsAtOnce;
        for (int64_t tile = 0; tile < kBlockRows; tile += kTileRows, rows += chunks * kTileBytes) {
            int64_t i = 0;
            for (; i + kRowsAtOnce <= kTileRows; i += kRowsAtOnce) {
                some<kAdd, kRowsAtOnce>(rows + i * kTileDims, row_sums + (tile + i) * kStride, panel, chunks,
                                        out + (tile + i) * kPanelQueries);
            }
            if constexpr (kRest > 0) {
                some<kAdd, kRest>(rows + i * kTileDims, row_sums + (tile + i) * kStride, panel, chunks,
                                  out + (tile + i) * kPanelQueries);
            }
        }
    }

  private:
    static constexpr int kVectors = kPanelQueries / kLanes32;
    static constexpr int kHalf = 2;  // of a panel: 16 queries each
    static constexpr int64_t kStride = sizeof(CodeBounds) / sizeof(float), kFourDims = 4;

    template <bool kAdd, int kRows>
    static void some(const int8_t* rows, const float* row_sums, const int8_t* panel, int64_t chunks,
                     int32_t* out) {
        Ints sums[kRows][kVectors];
        for (int i = 0; i < kRows; ++i) {
            for (int v = 0; v < kVectors; ++v)
                sums[i][v] = all(-kSurplus * static_cast<int32_t>(row_sums[i * kStride]));
        }
        const int8_t* halves[kHalf] = {panel, panel + chunks * kTileBytes};
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            for (int64_t d = 0; d < kTileDims; d += kFourDims) {
                const int64_t at = chunk * kTileBytes + d * kTileRows;
                Ints q[kVectors];
                for (int v = 0; v < kVectors; ++v) {
                    const int half = v / (kVectors / kHalf), part = v % (kVectors / kHalf);
                    q[v] = queries(halves[half] + at + part * kLanes32 * kFourDims);
                }
                for (int i = 0; i < kRows; ++i) {
                    int32_t four;
                    std::memcpy(&four, rows + chunk * kTileBytes + i * kTileDims + d, sizeof(four));
                    const Ints c = all(four);
                    for (int v = 0; v < kVectors; ++v) sums[i][v] = multiply_add(sums[i][v], q[v], c);
                }
            }
        }
        for (int i = 0; i < kRows; ++i) {
            for (int v = 0; v < kVectors; ++v) {
                int32_t* place = out + i * kPanelQueries + v * kLanes32;
                store_ints(place, kAdd ? add(sums[i][v], load_ints(place)) : sums[i][v]);
            }
        }
    }
};

}  // namespace
}  // namespace lvm::LVM_LEVEL::retrieval

#include "retrieval/screen-inl.h"

// Scoring by NEON with products of small matrices (I8MM): 2 x 2 sums of 8 products an instruction.
#pragma once

#include <arm_neon.h>

#include "retrieval/screen.h"
#include "simd/ints_neon.h"
#include "simd/vec_neon.h"

namespace lvm::i8mm::retrieval {
namespace {

class Product {
  public:
    static constexpr int64_t few_open = 48;
    static int64_t steps(int64_t) { return 1; }

    template <bool kAdd, class Between>
    void multiply(const int8_t* rows, const float*, const int8_t* panel, int64_t chunks, int32_t* out,
                  const Between& between) const {
        between(0);
        for (int64_t tile = 0; tile < kBlockRows; tile += kTileRows, rows += chunks * kTileBytes) {
            for (int64_t i = 0; i < kTileRows; i += kRows) {
                for (int64_t half = 0; half < kPanelQueries / kQueries; ++half) {
                    some<kAdd>(rows + i * kTileDims, panel + half * chunks * kTileBytes, chunks,
                               out + (tile + i) * kPanelQueries + half * kQueries);
                }
            }
        }
    }

  private:
    // 16 sums of 2 x 2 fill half of the registers.
    static constexpr int kRows = 4, kQueries = 16, kDims = 8, kPairs = kQueries / 2;

    // Four candidates times the queries of half a panel.
    template <bool kAdd>
    static void some(const int8_t* rows, const int8_t* half, int64_t chunks, int32_t* out) {
        int32x4_t sums[kRows / 2][kPairs] = {};
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            for (int64_t d = 0; d < kTileDims; d += kDims) {
                const int8_t* c = rows + chunk * kTileBytes + d;
                const int8_t* q = half + chunk * kTileBytes + d * kTileRows;
                int8x16_t candidates[kRows / 2];
                for (int i = 0; i < kRows / 2; ++i) {
                    candidates[i] =
                        vcombine_s8(vld1_s8(c + 2 * i * kTileDims), vld1_s8(c + (2 * i + 1) * kTileDims));
                }
                for (int j = 0; j < kPairs; j += 2) {
                    // four dimensions of four queries, and the next four: eight of two, and of two more
                    const int32x4_t near = load_ints(q + 2 * j * 4),
                                    far = load_ints(q + kQueries * 4 + 2 * j * 4);
                    const int8x16_t first = vreinterpretq_s8_s32(vzip1q_s32(near, far));
                    const int8x16_t second = vreinterpretq_s8_s32(vzip2q_s32(near, far));
                    for (int i = 0; i < kRows / 2; ++i) {
                        sums[i][j] = vmmlaq_s32(sums[i][j], candidates[i], first);
                        sums[i][j + 1] = vmmlaq_s32(sums[i][j + 1], candidates[i], second);
                    }
                }
            }
        }
        for (int i = 0; i < kRows / 2; ++i) {
            for (int j = 0; j < kPairs; j += 2) {
                const int64x2_t a = vreinterpretq_s64_s32(sums[i][j]),
                                b = vreinterpretq_s64_s32(sums[i][j + 1]);
                keep<kAdd>(out + 2 * i * kPanelQueries + 2 * j, vreinterpretq_s32_s64(vzip1q_s64(a, b)));
                keep<kAdd>(out + (2 * i + 1) * kPanelQueries + 2 * j,
                           vreinterpretq_s32_s64(vzip2q_s64(a, b)));
            }
        }
    }

    template <bool kAdd>
    static void keep(int32_t* place, int32x4_t sums) {
        store_ints(place, kAdd ? add(sums, load_ints(place)) : sums);
    }
};

}  // namespace
}  // namespace lvm::i8mm::retrieval

#include "retrieval/screen-inl.h"

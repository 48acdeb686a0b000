// Scoring by AVX-512 with the tile unit (AMX): 16 x 16 sums of 64 products an instruction.
#pragma once

#include <immintrin.h>

#include "retrieval/screen.h"
#include "simd/amx_tiles.h"
#include "simd/ints_avx512.h"
#include "simd/vec_avx512.h"

namespace lvm::amx::retrieval {
namespace {

static_assert(kTileDims == kTileRowBytes);

class Product {
  public:
    static constexpr int64_t few_open = 48;
    static int64_t steps(int64_t chunks) { return chunks; }

    // One tile of candidates times two of queries at a time: sums 0 and 1, candidates 4, queries 7. With all
    // eight registers at work some machines take twice as long an instruction.
    template <bool kAdd, class Between>
    void multiply(const int8_t* rows, const float*, const int8_t* panel, int64_t chunks, int32_t* out,
                  const Between& between) const {
        constexpr int kOutLine = kPanelQueries * sizeof(int32_t);
        const int8_t* panel2 = panel + chunks * kTileBytes;
        for (int64_t half = 0; half < 2;
             ++half, rows += chunks * kTileBytes, out += kTileRows * kPanelQueries) {
            int32_t* out2 = out + kTileRows;
            if constexpr (kAdd) {
                _tile_loadd(0, out, kOutLine);
                _tile_loadd(1, out2, kOutLine);
            } else {
                _tile_zero(0);
                _tile_zero(1);
            }
            for (int64_t chunk = 0; chunk < chunks; ++chunk) {
                const int64_t at = chunk * kTileBytes;
                _tile_loadd(4, rows + at, kTileRowBytes);
                _tile_loadd(7, panel + at, kTileRowBytes);
                _tile_dpbssd(0, 4, 7);
                _tile_loadd(7, panel2 + at, kTileRowBytes);
                _tile_dpbssd(1, 4, 7);
                if (half == 0) between(chunk);
            }
            _tile_stored(0, out, kOutLine);
            _tile_stored(1, out2, kOutLine);
        }
    }

  private:
    TileShape shape_;
};

}  // namespace
}  // namespace lvm::amx::retrieval

#include "retrieval/screen-inl.h"

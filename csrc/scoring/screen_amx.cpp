// AVX-512 with the tile unit: 16 x 16 sums of 64 products an instruction.
#include "scoring/ints_avx512.h"
#include "scoring/screen.h"
#include "simd/vec_avx512.h"

namespace lvm::amx {

using namespace avx512;

#include "scoring/pair-inl.h"

namespace {

class Product {
  public:
    static constexpr int64_t few_open = 48;
    static int64_t steps(int64_t chunks) { return chunks; }

    Product() {
        struct alignas(64) Shape {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        };
        static constexpr Shape kShape;
        _tile_loadconfig(&kShape);
    }
    ~Product() { _tile_release(); }
    Product(const Product&) = delete;
    Product& operator=(const Product&) = delete;

    // Two tiles of candidates (4, 5) times two of queries (6, 7) into four of sums (0 - 3).
    template <bool kAdd, class Between>
    void multiply(const int8_t* rows, const float*, const int8_t* panel, int64_t chunks, int32_t* out,
                  const Between& between) const {
        constexpr int kLine = kTileDims, kOutLine = kPanelQueries * sizeof(int32_t);
        const int8_t* rows2 = rows + chunks * kTileBytes;
        const int8_t* panel2 = panel + chunks * kTileBytes;
        int32_t* out2 = out + kTileRows * kPanelQueries;
        if constexpr (kAdd) {
            _tile_loadd(0, out, kOutLine);
            _tile_loadd(1, out + kTileRows, kOutLine);
            _tile_loadd(2, out2, kOutLine);
            _tile_loadd(3, out2 + kTileRows, kOutLine);
        } else {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        }
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            const int64_t at = chunk * kTileBytes;
            _tile_loadd(4, rows + at, kLine);
            _tile_loadd(6, panel + at, kLine);
            _tile_dpbssd(0, 4, 6);
            _tile_loadd(5, rows2 + at, kLine);
            _tile_dpbssd(2, 5, 6);
            _tile_loadd(7, panel2 + at, kLine);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(3, 5, 7);
            between(chunk);
        }
        _tile_stored(0, out, kOutLine);
        _tile_stored(1, out + kTileRows, kOutLine);
        _tile_stored(2, out2, kOutLine);
        _tile_stored(3, out2 + kTileRows, kOutLine);
    }
};

}  // namespace
}  // namespace lvm::amx

#define LVM_LEVEL amx
#include "scoring/screen-inl.h"

// The registers of the tile unit (AMX). For the file of that level only.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace lvm::amx {
namespace {

constexpr int kTileRowBytes = 64;  // the most that a row has; all of ours do

// The rows of the tile registers, while it lives.
class TileShape {
  public:
    // Registers 0 and 4 have `upper` rows, 1 and 5 `lower`, the others sixteen.
    explicit TileShape(int64_t upper = 16, int64_t lower = 16) {
        struct alignas(64) Config {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
            uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
        } config;
        config.rows[0] = config.rows[4] = static_cast<uint8_t>(upper);
        config.rows[1] = config.rows[5] = static_cast<uint8_t>(lower);
        asm volatile("" ::: "memory");  // GCC 12 believes that the instruction reads eight bytes only
        _tile_loadconfig(&config);
    }
    ~TileShape() { _tile_release(); }
    TileShape(const TileShape&) = delete;
    TileShape& operator=(const TileShape&) = delete;
};

}  // namespace
}  // namespace lvm::amx

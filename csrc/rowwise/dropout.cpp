#include "rowwise/dropout.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kBlock = 64;
constexpr int64_t kGrain = 512;  // blocks

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): its i-th output.
uint64_t random_bits(uint64_t seed, uint64_t i) {
    uint64_t z = seed + (i + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

struct Mask {
    uint32_t dropped;  // of 65,536
    float scale;
    uint64_t seed;

    // For numbers [block * 64, + 64): all bits where a number is kept.
    void kept(int64_t block, uint32_t* out) const {
        uint16_t draws[kBlock];
        for (uint64_t i = 0; i < kBlock / 4; ++i) {
            const uint64_t bits = random_bits(seed, static_cast<uint64_t>(block) * (kBlock / 4) + i);
            for (uint64_t j = 0; j < 4; ++j) draws[4 * i + j] = static_cast<uint16_t>(bits >> (16 * j));
        }
        for (int64_t i = 0; i < kBlock; ++i) out[i] = draws[i] < dropped ? 0u : ~0u;
    }
};

float masked(float x, uint32_t kept) { return std::bit_cast<float>(std::bit_cast<uint32_t>(x) & kept); }

void apply(const float* x, float scale, const uint32_t* kept, int64_t count, float* out) {
    for (int64_t i = 0; i < count; ++i) out[i] = masked(x[i] * scale, kept[i]);
}

// Rounds as narrow() does, without its branch for NaN: a product keeps the bits of one, whose lower half is
// zero.
void apply(const BF16* x, float scale, const uint32_t* kept, int64_t count, BF16* out) {
    for (int64_t i = 0; i < count; ++i) {
        const float scaled = std::bit_cast<float>(static_cast<uint32_t>(x[i].bits) << 16) * scale;
        const uint32_t bits = std::bit_cast<uint32_t>(scaled);
        out[i].bits = static_cast<uint16_t>(((bits + 0x7fffu + ((bits >> 16) & 1u)) & kept[i]) >> 16);
    }
}

template <class T>
void over(const T* x, int64_t count, const Mask& mask, T* out) {
    parallel_for((count + kBlock - 1) / kBlock, kGrain, [&](int64_t begin, int64_t end, int) {
        for (int64_t block = begin; block < end; ++block) {
            alignas(64) uint32_t kept[kBlock];
            mask.kept(block, kept);
            const int64_t first = block * kBlock, members = std::min(kBlock, count - first);
            apply(x + first, mask.scale, kept, members, out + first);
        }
    });
}

}  // namespace

void dropout(const void* x, DType dtype, int64_t count, double p, uint64_t seed, void* out) {
    const uint32_t dropped = static_cast<uint32_t>(std::lround(p * 65536));
    const Mask mask{dropped, dropped < 65536 ? 65536.0f / static_cast<float>(65536 - dropped) : 0.0f, seed};
    if (dtype == DType::bfloat16) {
        over(static_cast<const BF16*>(x), count, mask, static_cast<BF16*>(out));
    } else {
        over(static_cast<const float*>(x), count, mask, static_cast<float*>(out));
    }
}

}  // namespace lvm

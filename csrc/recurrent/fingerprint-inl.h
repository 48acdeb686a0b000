// The bytes of one piece stirred together (fingerprint.h), for one instruction set. Included by the file of
// each level, after its Vec, by packed_weights-inl.h.
//
// Every 32-bit lane goes on by a <- (a rotated ^ word) * odd, which loses nothing, and sums up its a's: two
// changes that cancel out in a are still seen in the sum.
#pragma once

#include <cstring>
#include <utility>

#include "recurrent/packed_weights.h"

namespace lvm::LVM_LEVEL::fingerprint {
namespace {

constexpr int kLanes = W < 4 ? 4 : W;
constexpr int kStirred = 4;  // vectors of lanes at once: one alone would wait for its product
static_assert(2 * kStirred * kLanes <= PackedKernels::kMostStirred);
using Words = uint32_t __attribute__((vector_size(4 * kLanes)));

inline void stir(Words& state, Words& sum, const uint8_t* from) {
    Words word;
    std::memcpy(&word, from, sizeof(word));
    state = ((state << 13 | state >> 19) ^ word) * 0x9E3779B1u;
    sum += state;
}

template <size_t... v>
void stir_all(const uint8_t* data, int64_t bytes, uint32_t* stirred, std::index_sequence<v...>) {
    constexpr int64_t kStep = sizeof...(v) * sizeof(Words);
    Words states[] = {(Words{} + static_cast<uint32_t>(v + 1))...}, sums[sizeof...(v)] = {};
    int64_t at = 0;
    for (; at + kStep <= bytes; at += kStep) (stir(states[v], sums[v], data + at + v * sizeof(Words)), ...);
    if (at < bytes) {
        uint8_t rest[kStep] = {};
        std::memcpy(rest, data + at, static_cast<size_t>(bytes - at));
        (stir(states[v], sums[v], rest + v * sizeof(Words)), ...);
    }
    std::memcpy(stirred, states, sizeof(states));
    std::memcpy(stirred + kStirred * kLanes, sums, sizeof(sums));
}

void stir_piece(const uint8_t* data, int64_t bytes, uint32_t* stirred) {
    stir_all(data, bytes, stirred, std::make_index_sequence<kStirred>());
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::fingerprint

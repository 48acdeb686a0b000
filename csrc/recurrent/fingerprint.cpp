#include "recurrent/fingerprint.h"

#include <algorithm>

#include "recurrent/packed_weights.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kPiece = 128 << 10;  // bytes
constexpr int64_t kAtOnce = 4;         // pieces that a thread takes

uint64_t mixed(uint64_t all, uint64_t next) {
    all = (all ^ next) * 0x9E3779B97F4A7C15u;
    return all ^ all >> 29;
}

uint64_t fingerprint_of(const Span& piece, const PackedKernels& kernels) {
    uint32_t stirred[PackedKernels::kMostStirred] = {};
    kernels.stir(piece.data, piece.bytes, stirred);
    uint64_t all = static_cast<uint64_t>(piece.bytes);
    for (int i = 0; i < PackedKernels::kMostStirred; i += 2) {
        all = mixed(all, static_cast<uint64_t>(stirred[i]) << 32 | stirred[i + 1]);
    }
    return all;
}

}  // namespace

uint64_t fingerprint(const std::vector<Span>& spans) {
    std::vector<Span> pieces;
    for (const Span& span : spans) {
        for (int64_t first = 0; first < span.bytes; first += kPiece)
            pieces.push_back({span.data + first, std::min(kPiece, span.bytes - first)});
    }
    const PackedKernels& kernels = kernels_in_force<PackedKernels>();
    std::vector<uint64_t> found(pieces.size());
    parallel_for(static_cast<int64_t>(pieces.size()), kAtOnce, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            found[static_cast<size_t>(i)] = fingerprint_of(pieces[static_cast<size_t>(i)], kernels);
        }
    });
    uint64_t all = 0;
    for (const Span& span : spans) all = mixed(all, static_cast<uint64_t>(span.bytes));
    for (const uint64_t piece : found) all = mixed(all, piece);
    return all;
}

}  // namespace lvm

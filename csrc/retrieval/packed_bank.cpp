#include "retrieval/packed_bank.h"

#include <algorithm>

#include "retrieval/stored_rows.h"
#include "runtime/store_fence.h"
#include "runtime/thread_pool.h"

namespace lvm {

void PackedRows::pack(const Rows& rows, Metric metric) {
    constexpr int64_t kBlocksPerPiece = 8, kCaches = 8 << 20;
    const int64_t chunks = chunks_of(rows.dim), bytes = plane_bytes(rows.rows, rows.dim);
    const int64_t blocks = padded_rows(rows.rows) / kBlockRows;
    coarse_.reserve(bytes);
    fine_.reserve(bytes);
    bounds_.resize(static_cast<size_t>(padded_rows(rows.rows)));
    const bool normalize = metric == Metric::cosine;
    factors_.resize(normalize ? static_cast<size_t>(rows.rows) : 0);
    offsets_.resize(metric == Metric::l2 ? static_cast<size_t>(rows.rows) : 0);
    FirstBadRow bad;
    parallel_for(blocks, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
        RowEncoder encoder(rows, normalize);
        const int64_t last = std::min(end * kBlockRows, rows.rows);
        for (int64_t i = begin * kBlockRows; i < last; ++i) {
            const int64_t offset = code_offset(i, chunks);
            double* factor = normalize ? &factors_[static_cast<size_t>(i)] : nullptr;
            bounds_[static_cast<size_t>(i)] = encoder.encode(
                i, {coarse_.data() + offset, fine_.data() + offset, bytes > kCaches}, factor, nullptr);
            if (metric == Metric::l2)
                offsets_[static_cast<size_t>(i)] = static_cast<float>(encoder.square() / 2);
        }
        bad.note(encoder);
        store_fence();
        for (int64_t i = last; i < end * kBlockRows; ++i) {
            bounds_[static_cast<size_t>(i)] = {};
            for (int64_t c = 0; c < chunks; ++c) {
                const int64_t offset = code_offset(i, chunks) + c * kTileBytes;
                std::memset(coarse_.data() + offset, 0, kTileDims);
                std::memset(fine_.data() + offset, 0, kTileDims);
            }
        }
    });
    bad.raise("vectors");
}

PackedView PackedRows::view() const {
    return {coarse_.data(), fine_.data(), bounds_.data(), factors_.empty() ? nullptr : factors_.data(),
            offsets_.empty() ? nullptr : offsets_.data()};
}

}  // namespace lvm

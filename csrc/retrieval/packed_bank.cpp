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
    prefix_dim_ = 0;
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

void PackedRows::pack_prefixes(const Rows& prefixes, const float* tails, int64_t first, int64_t total) {
    constexpr int64_t kBlocksPerPiece = 32;
    const int64_t chunks = chunks_of(prefixes.dim);
    if (first == 0) {
        const int64_t bytes = plane_bytes(total, prefixes.dim);
        prefix_.reserve(bytes);
        std::memset(prefix_.data(), 0, static_cast<size_t>(bytes));
        prefix_bounds_.assign(static_cast<size_t>(padded_rows(total)), {});
    }
    parallel_for(
        padded_rows(prefixes.rows) / kBlockRows, kBlocksPerPiece, [&](int64_t begin, int64_t end, int) {
            RowEncoder encoder(prefixes, false);
            std::vector<int8_t> fine(static_cast<size_t>(chunks * kTileBytes));  // not kept
            double factor = 1;
            for (int64_t i = begin * kBlockRows; i < std::min(end * kBlockRows, prefixes.rows); ++i) {
                CodeBounds& bounds = prefix_bounds_[static_cast<size_t>(first + i)];
                bounds =
                    encoder.encode(i, {prefix_.data() + code_offset(first + i, chunks), fine.data(), false},
                                   &factor, nullptr);
                bounds.fine_rest = tails[i];
                bounds.fine_sum = 0;
            }
        });
    prefix_dim_ = prefixes.dim;
}

PackedView PackedRows::view() const {
    const bool has_prefixes = prefix_dim_ > 0;
    return {coarse_.data(),
            fine_.data(),
            bounds_.data(),
            factors_.empty() ? nullptr : factors_.data(),
            offsets_.empty() ? nullptr : offsets_.data(),
            has_prefixes ? prefix_.data() : nullptr,
            has_prefixes ? prefix_bounds_.data() : nullptr,
            prefix_dim_};
}

}  // namespace lvm

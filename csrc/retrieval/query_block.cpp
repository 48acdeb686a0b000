#include "retrieval/query_block.h"

#include <algorithm>
#include <cstring>

#include "core/alignment.h"
#include "retrieval/stored_rows.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

// Covers the float32 roundings of a judgement: a handful, each 2^-24 of ||q|| ||c|| (1 + rests).
constexpr double kSlack = 0x1p-18;
constexpr int64_t kRowsPerPiece = 32, kPanelsPerPiece = 4;

float rounded_up(double x) { return static_cast<float>(x * (1 + kSlack)); }

// Rows of codes, up to 16 one after another in the panel: [row][chunk][64 dims] -> [chunk][dims / 4][16][4].
void interleave(const int8_t* const* rows, int64_t count, int64_t chunks, int8_t* half) {
    constexpr int64_t kFourDims = 4;
    for (int64_t c = 0; c < chunks; ++c) {
        for (int64_t d = 0; d < kTileDims; d += kFourDims) {
            int8_t* line = half + c * kTileBytes + d * kTileRows;
            for (int64_t i = 0; i < count; ++i)
                std::memcpy(line + i * kFourDims, rows[i] + c * kTileBytes + d, kFourDims);
        }
    }
}

}  // namespace

QueryBlock::QueryBlock(const Rows& queries, Metric metric, int64_t begin, int64_t end)
    : given_(queries),
      in_place_(scored_in_place(queries, metric == Metric::cosine) && queries.stride == queries.dim),
      first_(begin),
      dim_(queries.dim),
      count_(end - begin),
      chunks_(chunks_of(dim_)),
      rows_(in_place_ ? 0 : count_ * dim_),
      coarse_(round_up(count_, kTileRows) * chunks_ * kTileDims),
      fine_(round_up(count_, kTileRows) * chunks_ * kTileDims),
      bounds_(static_cast<size_t>(count_)),
      squares_(metric == Metric::l2 ? static_cast<size_t>(count_) : 0) {
    FirstBadRow bad;
    parallel_for(count_, kRowsPerPiece, [&](int64_t from, int64_t to, int) {
        RowEncoder encoder(queries, metric == Metric::cosine);
        double factor = 1;
        for (int64_t q = from; q < to; ++q) {
            const int64_t offset = code_offset(q, chunks_);
            bounds_[static_cast<size_t>(q)] =
                encoder.encode(begin + q, {coarse_.data() + offset, fine_.data() + offset, false}, &factor,
                               in_place_ ? nullptr : rows_.data() + q * dim_);
            if (metric == Metric::l2) squares_[static_cast<size_t>(q)] = encoder.square();
        }
        bad.note(encoder);
    });
    bad.raise("queries");
}

QueryPanels::QueryPanels(const QueryBlock& block, std::vector<int64_t> queries, const float* tails)
    : queries_(std::move(queries)),
      coarse_(round_up(static_cast<int64_t>(queries_.size()), kPanelQueries) * block.chunks() * kTileDims),
      fine_(round_up(static_cast<int64_t>(queries_.size()), kPanelQueries) * block.chunks() * kTileDims),
      panels_((queries_.size() + kPanelQueries - 1) / kPanelQueries),
      units_(panels_.size() * kPanelQueries, 1.0) {
    parallel_for(count(), kPanelsPerPiece, [&](int64_t begin, int64_t end, int) {
        for (int64_t p = begin; p < end; ++p) {
            for (int64_t lane = 0; lane < members(p); ++lane) place(block, p, lane, tails);
            interleave_codes(p, block.chunks());
        }
    });
}

void QueryPanels::place(const QueryBlock& block, int64_t p, int64_t lane, const float* tails) {
    const int64_t q = query(p, lane);
    QueryPanel& panel = panels_[static_cast<size_t>(p)];
    const CodeBounds& bounds = block.bounds(q);
    const double unit = bounds.scale > 0 ? bounds.scale : 1;
    const double norm = bounds.norm, coarse = bounds.coarse_rest, fine = bounds.fine_rest;
    panel.coarse_row[lane] = block.coarse(q);
    panel.fine_row[lane] = block.fine(q);
    panel.norm_error[lane] = rounded_up((coarse + kSlack * norm) / unit);
    panel.rest_share[lane] = rounded_up((norm + coarse) / unit);
    // The product of the two fine parts is left out; each is at most coarse_rest + fine_rest long.
    panel.norm_error2[lane] = rounded_up((fine + kSlack * norm) / unit);
    panel.rest_share2[lane] = rounded_up((norm + coarse + 2 * fine) / unit);
    panel.cross_share[lane] = rounded_up((coarse + fine) / unit);
    panel.tail_share[lane] = tails ? rounded_up(static_cast<double>(tails[q]) / unit) : 0;
    panel.inverse_unit[lane] = static_cast<float>(1 / unit);
    units_[static_cast<size_t>(p * kPanelQueries + lane)] = unit;
}

void QueryPanels::interleave_codes(int64_t p, int64_t chunks) {
    QueryPanel& panel = panels_[static_cast<size_t>(p)];
    const int64_t half = chunks * kTileBytes;
    int8_t* const coarse = coarse_.data() + 2 * p * half;
    int8_t* const fine = fine_.data() + 2 * p * half;
    for (int64_t lane = 0; lane < members(p); lane += kTileRows) {
        const int64_t count = std::min(kTileRows, members(p) - lane), offset = lane / kTileRows * half;
        interleave(panel.coarse_row + lane, count, chunks, coarse + offset);
        interleave(panel.fine_row + lane, count, chunks, fine + offset);
    }
    panel.coarse = coarse;
    panel.fine = fine;
}

}  // namespace lvm

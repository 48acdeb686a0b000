// A block of queries: as float32 rows for exact scores, as codes, and in panels for the products.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/views.h"
#include "retrieval/packed_bank.h"
#include "retrieval/screen.h"

namespace lvm {

class QueryBlock {
  public:
    // Rows [begin, end) of the queries, normalised by Metric::cosine. Throws std::invalid_argument on NaN,
    // infinity and, where normalised, zero rows.
    QueryBlock(const Rows& queries, Metric metric, int64_t begin, int64_t end);

    int64_t count() const { return count_; }
    int64_t chunks() const { return chunks_; }
    // Rows lie one after another.
    const float* row(int64_t q) const {
        return in_place_ ? given_.row<float>(first_ + q) : rows_.data() + q * dim_;
    }
    const CodeBounds& bounds(int64_t q) const { return bounds_[static_cast<size_t>(q)]; }
    const int8_t* coarse(int64_t q) const { return coarse_.data() + code_offset(q, chunks_); }
    const int8_t* fine(int64_t q) const { return fine_.data() + code_offset(q, chunks_); }

    // Screening compares products less offsets; of squared distances that is (score + ||q||^2) / 2. These
    // lead there and back, rounded in the direction of the sign of `outwards`.
    double screened(int64_t q, double score, double outwards) const {
        if (squares_.empty()) return score;
        const double square = squares_[static_cast<size_t>(q)];
        return (score + square) / 2 + outwards * kSquareSlack * square;
    }
    double score(int64_t q, double screened, double outwards) const {
        if (squares_.empty()) return screened;
        const double square = squares_[static_cast<size_t>(q)];
        return 2 * screened - square + outwards * (kSquareSlack * square + kTiny);
    }

  private:
    // Covers the float64 roundings of a squared distance: some 2,100, each 2^-53 of it, at most 65,536
    // dimensions.
    static constexpr double kSquareSlack = 0x1p-38, kTiny = std::numeric_limits<double>::min();

    Rows given_;
    bool in_place_;
    int64_t first_, dim_, count_, chunks_;
    AlignedBuffer<float> rows_;  // unless the given ones serve
    AlignedBuffer<int8_t> coarse_, fine_;
    std::vector<CodeBounds> bounds_;
    std::vector<double> squares_;  // ||q||^2, of Metric::l2
};

// Some queries of a block, laid out for the products.
class QueryPanels {
  public:
    // `tails`, of prefixes: upper bounds of what each query of the block has beyond its prefix; else null.
    QueryPanels(const QueryBlock& block, std::vector<int64_t> queries, const float* tails = nullptr);

    int64_t count() const { return static_cast<int64_t>(panels_.size()); }
    const QueryPanel& panel(int64_t p) const { return panels_[static_cast<size_t>(p)]; }
    // The queries in panel p: their ids in the block.
    int64_t members(int64_t p) const {
        return std::min<int64_t>(kPanelQueries, static_cast<int64_t>(queries_.size()) - p * kPanelQueries);
    }
    int64_t query(int64_t p, int64_t lane) const {
        return queries_[static_cast<size_t>(p * kPanelQueries + lane)];
    }
    const std::vector<int64_t>& queries() const { return queries_; }

    // What the panels count a query's scores in.
    double unit(int64_t p, int64_t lane) const {
        return units_[static_cast<size_t>(p * kPanelQueries + lane)];
    }

  private:
    void place(const QueryBlock& block, int64_t p, int64_t lane, const float* tails);
    void interleave_codes(int64_t p, int64_t chunks);

    std::vector<int64_t> queries_;
    AlignedBuffer<int8_t> coarse_, fine_;
    std::vector<QueryPanel> panels_;
    std::vector<double> units_;
};

}  // namespace lvm

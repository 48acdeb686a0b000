// Queries and candidates laid out for the screening tiles: the numbers of one dimension side by side.
#pragma once

#include <cstdint>
#include <vector>

#include "rows.h"
#include "scoring/bank.h"
#include "simd/aligned.h"

namespace lvm {

// Interleaves `count` <= width rows into [dim][width]; missing rows become zeros.
void interleave(const float* const* rows, int64_t count, int64_t dim, int64_t width, float* panel);

// A block of queries: as float32 rows for exact scores, and in groups [dim][width] for the tiles.
class QueryBlock {
  public:
    // Rows [begin, end) of the queries; `norms` of all queries, used to normalise where asked.
    QueryBlock(const Rows& queries, const std::vector<double>& norms, bool normalize, int64_t begin,
               int64_t end, int64_t width);

    int64_t count() const { return count_; }
    int64_t groups() const { return (count_ + width_ - 1) / width_; }
    const float* row(int64_t q) const { return rows_.data() + q * dim_; }
    const float* group(int64_t g) const { return packed_.data() + g * dim_ * width_; }
    double norm(int64_t q) const { return norms_[static_cast<size_t>(q)]; }

  private:
    int64_t dim_, count_, width_;
    std::vector<float> rows_;
    AlignedBuffer<float> packed_;
    std::vector<double> norms_;
};

// A panel of candidates, repacked again and again in one place.
class CandidatePanel {
  public:
    CandidatePanel(const Bank& bank, int64_t width);

    // Packs candidates [begin, begin + count), count <= width.
    void pack(int64_t begin, int64_t count);

    const float* data() const { return packed_.data(); }

  private:
    const Bank& bank_;
    int64_t width_;
    std::vector<float> rows_;
    std::vector<const float*> sources_;
    AlignedBuffer<float> packed_;
};

}  // namespace lvm

#include "scoring/panels.h"

#include <algorithm>

#include "scoring/row_norms.h"

namespace lvm {

void interleave(const float* const* rows, int64_t count, int64_t dim, int64_t width, float* panel) {
    constexpr int64_t kBlock = 16;  // dimensions at a time: the lines being written stay in L1
    if (count < width) std::fill(panel, panel + dim * width, 0.0f);
    for (int64_t begin = 0; begin < dim; begin += kBlock) {
        const int64_t end = std::min(begin + kBlock, dim);
        for (int64_t r = 0; r < count; ++r) {
            for (int64_t d = begin; d < end; ++d) panel[d * width + r] = rows[r][d];
        }
    }
}

QueryBlock::QueryBlock(const Rows& queries, const std::vector<double>& norms, bool normalize, int64_t begin,
                       int64_t end, int64_t width)
    : dim_(queries.dim),
      count_(end - begin),
      width_(width),
      rows_(static_cast<size_t>(count_ * dim_)),
      packed_(groups() * dim_ * width_),
      norms_(static_cast<size_t>(count_)) {
    constexpr double kUnitNorm = 1 + 1e-6;  // of a normalised row after rounding to float32
    for (int64_t q = 0; q < count_; ++q) {
        const double norm = norms[static_cast<size_t>(begin + q)];
        load_row(queries, begin + q, normalize ? norm : 0, rows_.data() + q * dim_);
        norms_[static_cast<size_t>(q)] = normalize ? kUnitNorm : norm;
    }
    std::vector<const float*> sources(static_cast<size_t>(width_));
    for (int64_t g = 0; g < groups(); ++g) {
        const int64_t first = g * width_, members = std::min(width_, count_ - first);
        for (int64_t q = 0; q < members; ++q) sources[static_cast<size_t>(q)] = row(first + q);
        interleave(sources.data(), members, dim_, width_, packed_.data() + first * dim_);
    }
}

CandidatePanel::CandidatePanel(const Bank& bank, int64_t width)
    : bank_(bank),
      width_(width),
      rows_(static_cast<size_t>(width * bank.dim())),
      sources_(static_cast<size_t>(width)),
      packed_(width * bank.dim()) {}

void CandidatePanel::pack(int64_t begin, int64_t count) {
    for (int64_t r = 0; r < count; ++r) {
        sources_[static_cast<size_t>(r)] = bank_.stored_row(begin + r, rows_.data() + r * bank_.dim());
    }
    interleave(sources_.data(), count, bank_.dim(), width_, packed_.data());
}

}  // namespace lvm

// The vector bank: exact ranks, top-k and score bands of queries over a set of candidate rows, never holding
// a B x N matrix.
//
// Exact means: the order of ScreenKernels::dot over the stored values (float32; float16 and bfloat16 widened;
// int8 * scale rounded to float32; with normalize, each row times 1 / ||row|| in float64 rounded to float32),
// equal scores by lower id. The same on every machine, instruction set, thread count and tile size.
#pragma once

#include <cstdint>
#include <vector>

#include "rows.h"

namespace lvm {

class Bank {
  public:
    // Refers to `rows` (no copy). Throws std::invalid_argument on a row with NaN or infinity and, with
    // `normalize`, on a zero row.
    Bank(const Rows& rows, bool normalize);

    int64_t size() const { return rows_.rows; }
    int64_t dim() const { return rows_.dim; }
    bool normalize() const { return normalize_; }

    // ranks[b] = candidates that beat targets[b] for query b, at most max_rank. Targets are ids in [0,
    // size()).
    void rank(const Rows& queries, const int64_t* targets, int64_t max_rank, int64_t* ranks) const;

    // The k best, best first: scores and ids are [B][k]; 1 <= k <= size().
    void topk(const Rows& queries, int64_t k, float* scores, int64_t* ids) const;

    // Up to `limit` ids with low <= score < high, best first, [B][limit], padded with -1. exclude:
    // [B][excluded] ids (-1: none), may be null; below: [B] a further upper bound of each query, may be null.
    void band(const Rows& queries, double low, double high, int64_t limit, const int64_t* exclude,
              int64_t excluded, const double* below, int64_t* ids) const;

    // Row i as the float32 values that are scored: in place where they lie so, else in `buffer` (dim()
    // floats).
    const float* stored_row(int64_t i, float* buffer) const;

    // The largest ||row|| of rows [begin, end), as scored.
    double largest_norm(int64_t begin, int64_t end) const;

  private:
    Rows rows_;
    bool normalize_;
    std::vector<double> norms_;  // of the rows as given
};

}  // namespace lvm

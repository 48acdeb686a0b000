// The vector bank: exact ranks, top-k, score bands and sums of queries over a set of candidate rows, never
// holding a B x N matrix (of a small bank, 32 x N at a time).
//
// Exact means: the order of ScreenKernels::dot over the stored values (float32; float16 and bfloat16 widened;
// int8 * scale rounded to float32; by Metric::cosine, each row times 1 / ||row|| in float64 rounded to
// float32), by Metric::l2 of minus ScreenKernels::squared_distance over them, equal scores by lower id. The
// same on every machine, instruction set, thread count and tile size.
#pragma once

#include <atomic>
#include <cstdint>

#include "core/views.h"
#include "retrieval/best_list.h"
#include "retrieval/filter.h"
#include "retrieval/packed_bank.h"

namespace lvm {

// Pairs of a query and a candidate, by what they took to decide.
struct Tally {
    int64_t screened = 0;  // the coarse products
    int64_t refined = 0;   // the fine products
    int64_t rescored = 0;  // the exact score too
};

// Candidates with low[b] <= score < high[b] for query b.
struct Band {
    const double* low;
    const double* high;
};

// The prefixes of queries in the axes of a bank's own, float32, and upper bounds of their tails.
struct QueryPrefixes {
    Rows rows;
    const float* tails;  // [B]
};

class Bank {
  public:
    static constexpr int64_t kMostDims = 65536;  // beyond it integer products could overflow

    // Refers to `rows` (no copy) and packs them. Throws std::invalid_argument on a row with NaN or infinity
    // and, by Metric::cosine, on a zero row.
    Bank(const Rows& rows, Metric metric);

    // Refers to rows and their packed form, made earlier.
    Bank(const Rows& rows, const PackedView& packed) : rows_(rows), packed_(packed) {}

    Bank(const Bank&) = delete;
    Bank& operator=(const Bank&) = delete;

    // Refers to other rows from now on, packed into the same memory. Same errors; after one the bank is
    // empty.
    void refill(const Rows& rows);

    // Adds the prefixes of the rows from `first` on (0, and then in order; whole blocks but for the last
    // ones), in some orthogonal axes, and upper bounds of their tails; both are such that a product of two
    // rows differs from that of their prefixes by at most the product of their tails.
    void add_prefixes(const Rows& prefixes, const float* tails, int64_t first);

    int64_t size() const { return rows_.rows; }
    int64_t dim() const { return rows_.dim; }
    Metric metric() const {
        if (packed_.offsets) return Metric::l2;
        return packed_.factors ? Metric::cosine : Metric::inner_product;
    }
    bool normalize() const { return packed_.factors != nullptr; }
    const PackedView& packed() const { return packed_; }

    // The exact score of a query and a candidate as they are scored, each of dim() numbers.
    double score(const float* query, const float* row) const {
        const ScreenKernels& kernels = screen_kernels();
        return packed_.offsets ? -kernels.squared_distance(query, row, dim())
                               : kernels.dot(query, row, dim());
    }

    // scores[b] = the exact score of query b and candidate ids[b]; queries are not checked.
    void pair_scores(const Rows& queries, const int64_t* ids, double* scores) const;

    // ranks[b] = allowed candidates that beat a score and id for query b, at most max_rank; candidate i
    // counts as id first_id + i.
    void rank(const Rows& queries, const double* scores, const int64_t* ids, int64_t first_id,
              int64_t max_rank, const Filter& filter, int64_t* ranks) const;

    // Up to `limit` allowed ids in the band, best first, [B][limit], padded with -1, and their scores, padded
    // with -infinity; 1 <= limit <= size(). `prefixes`, if not null, are looked at first.
    void best(const Rows& queries, const Band& band, int64_t limit, const Filter& filter,
              const QueryPrefixes* prefixes, double* scores, int64_t* ids) const;

    // sums[b] = sum over the bank of exp(factor * (score - best[b].score)), scores in float32; factor > 0; of
    // the candidates whose bit in `held` (as in Filter) is 1, or all where that is null.
    void sum_exp(const Rows& queries, double factor, const double* best, const uint8_t* held,
                 double* sums) const;

    // What all questions took since the last call.
    Tally take_tally() const;
    void note(const Tally& tally) const;

    // Row i as the float32 values that are scored: in place where they lie so, else in `buffer` (dim()
    // floats).
    const float* stored_row(int64_t i, float* buffer) const;

    // Asks for row i, which will be needed soon.
    void fetch_row(int64_t i) const;

  private:
    Rows rows_;
    PackedRows own_;
    PackedView packed_;
    mutable std::atomic<int64_t> screened_{0}, refined_{0}, rescored_{0};
};

}  // namespace lvm

#include "scoring/bank.h"

#include <algorithm>
#include <limits>

#include "scoring/best_ending.h"
#include "scoring/rank_ending.h"
#include "scoring/row_norms.h"
#include "scoring/scan.h"

namespace lvm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Queries at a time: bounds memory, yet makes packing the candidates once per block cheap.
constexpr int64_t kQueriesPerBlock = 1536;

// Calls body(block, first) for consecutive blocks of checked queries; `first` is the index of the block's
// first query.
template <class Body>
void over_blocks(const Rows& queries, bool normalize, const Body& body) {
    const std::vector<double> norms = checked_norms(queries, normalize, "queries");
    for (int64_t first = 0; first < queries.rows; first += kQueriesPerBlock) {
        const int64_t last = std::min(first + kQueriesPerBlock, queries.rows);
        body(QueryBlock(queries, norms, normalize, first, last, screen_kernels().queries), first);
    }
}

}  // namespace

Bank::Bank(const Rows& rows, bool normalize)
    : rows_(rows), normalize_(normalize), norms_(checked_norms(rows, normalize, "vectors")) {}

const float* Bank::stored_row(int64_t i, float* buffer) const {
    const bool in_place = rows_.dtype == DType::float32 && !normalize_ &&
                          reinterpret_cast<uintptr_t>(rows_.data) % alignof(float) == 0;
    if (in_place) return rows_.row<float>(i);
    load_row(rows_, i, normalize_ ? norms_[static_cast<size_t>(i)] : 0, buffer);
    return buffer;
}

double Bank::largest_norm(int64_t begin, int64_t end) const {
    constexpr double kUnitNorm = 1 + 1e-6;  // of a normalised row after rounding to float32
    return normalize_ ? kUnitNorm : *std::max_element(norms_.begin() + begin, norms_.begin() + end);
}

void Bank::rank(const Rows& queries, const int64_t* targets, int64_t max_rank, int64_t* ranks) const {
    const int workers = num_threads();
    std::vector<float> buffer(static_cast<size_t>(dim()));
    over_blocks(queries, normalize_, [&](const QueryBlock& block, int64_t first) {
        std::vector<Scored> wanted;
        for (int64_t q = 0; q < block.count(); ++q) {
            const int64_t id = targets[first + q];
            wanted.push_back({screen_kernels().dot(block.row(q), stored_row(id, buffer.data()), dim()), id});
        }
        RankEnding ending(std::move(wanted), max_rank, workers);
        scan(*this, block, workers, ending);
        for (int64_t q = 0; q < block.count(); ++q) ranks[first + q] = ending.rank(q);
    });
}

void Bank::topk(const Rows& queries, int64_t k, float* scores, int64_t* ids) const {
    const int workers = num_threads();
    over_blocks(queries, normalize_, [&](const QueryBlock& block, int64_t first) {
        std::vector<BestEnding::Limits> limits(static_cast<size_t>(block.count()),
                                               {-kInfinity, kInfinity, nullptr, 0});
        BestEnding ending(std::move(limits), k, workers);
        scan(*this, block, workers, ending);
        for (int64_t q = 0; q < block.count(); ++q) {
            int64_t place = (first + q) * k;
            for (const Scored& item : ending.best(q)) {
                scores[place] = static_cast<float>(item.score);
                ids[place++] = item.id;
            }
        }
    });
}

void Bank::band(const Rows& queries, double low, double high, int64_t limit, const int64_t* exclude,
                int64_t excluded, const double* below, int64_t* ids) const {
    const int workers = num_threads();
    std::fill(ids, ids + queries.rows * limit, -1);
    over_blocks(queries, normalize_, [&](const QueryBlock& block, int64_t first) {
        std::vector<BestEnding::Limits> limits;
        for (int64_t q = first; q < first + block.count(); ++q) {
            limits.push_back(
                {low, below ? std::min(high, below[q]) : high, exclude + q * excluded, excluded});
        }
        BestEnding ending(std::move(limits), limit, workers);
        scan(*this, block, workers, ending);
        for (int64_t q = 0; q < block.count(); ++q) {
            int64_t* place = ids + (first + q) * limit;
            for (const Scored& item : ending.best(q)) *place++ = item.id;
        }
    });
}

}  // namespace lvm

#include "retrieval/bank.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "retrieval/best_policy.h"
#include "retrieval/rank_policy.h"
#include "retrieval/scan.h"
#include "retrieval/small_scan.h"
#include "retrieval/stored_rows.h"
#include "retrieval/sum_exp_policy.h"
#include "retrieval/threshold_seed.h"
#include "runtime/interrupt.h"

namespace lvm {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Queries at a time: their codes fit a core's second cache, and reading the bank once for so many is cheap.
constexpr int64_t kQueriesPerBlock = 1536;

// Calls body(block, first) for consecutive blocks of up to `most` queries; `first` is the index of the
// block's first query.
template <class Body>
void over_blocks(const Rows& queries, Metric metric, int64_t most, const Body& body) {
    for (int64_t first = 0; first < queries.rows; first += most) {
        const int64_t last = std::min(first + most, queries.rows);
        poll();
        body(QueryBlock(queries, metric, first, last), first);
    }
}

// Fewer at a time where their lists are long, so that these take no more than some 100 MB.
int64_t queries_per_block(int64_t limit) {
    constexpr int64_t kMostListed = 1 << 20;
    return std::clamp(kMostListed / limit, int64_t{1}, kQueriesPerBlock);
}

std::vector<int64_t> as_given(int64_t count) {
    std::vector<int64_t> order(static_cast<size_t>(count));
    std::iota(order.begin(), order.end(), 0);
    return order;
}

// Queries with a far target, of which little is open, apart from those with a near one.
std::vector<int64_t> by_cosine(const QueryBlock& block, const std::vector<Scored>& targets) {
    std::vector<double> cosines;
    for (int64_t q = 0; q < block.count(); ++q) {
        const double norm = block.bounds(q).norm;
        const double score = block.screened(q, targets[static_cast<size_t>(q)].score, 1);
        cosines.push_back(norm > 0 && norm < kInfinity ? score / norm : 0);
    }
    std::vector<int64_t> order = as_given(block.count());
    std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
        return cosines[static_cast<size_t>(a)] > cosines[static_cast<size_t>(b)];
    });
    return order;
}

}  // namespace

Bank::Bank(const Rows& rows, Metric metric) : rows_(rows) {
    if (rows.dim > kMostDims) {
        throw std::invalid_argument("vectors: expected at most " + std::to_string(kMostDims) +
                                    " columns, got " + std::to_string(rows.dim));
    }
    own_.pack(rows, metric);
    packed_ = own_.view();
}

void Bank::refill(const Rows& rows) {
    const Metric kept = metric();
    rows_.rows = 0;
    own_.pack(rows, kept);
    packed_ = own_.view();
    rows_ = rows;
}

void Bank::add_prefixes(const Rows& prefixes, const float* tails, int64_t first) {
    own_.pack_prefixes(prefixes, tails, first, size());
    packed_ = own_.view();
}

const float* Bank::stored_row(int64_t i, float* buffer) const {
    if (scored_in_place(rows_, normalize())) return rows_.row<float>(i);
    load_row(rows_, i, normalize() ? packed_.factors[i] : 1, buffer);
    return buffer;
}

void Bank::fetch_row(int64_t i) const {
    const int64_t bytes = bytes_of(rows_.dtype);
    const char* row = static_cast<const char*>(rows_.data) + i * rows_.stride * bytes;
    for (int64_t at = 0; at < rows_.dim * bytes; at += kCacheLine) __builtin_prefetch(row + at);
}

void Bank::note(const Tally& tally) const {
    screened_.fetch_add(tally.screened, std::memory_order_relaxed);
    refined_.fetch_add(tally.refined, std::memory_order_relaxed);
    rescored_.fetch_add(tally.rescored, std::memory_order_relaxed);
}

Tally Bank::take_tally() const {
    return {screened_.exchange(0), refined_.exchange(0), rescored_.exchange(0)};
}

void Bank::pair_scores(const Rows& queries, const int64_t* ids, double* scores) const {
    constexpr int64_t kPairsPerPiece = 64;
    const ScreenKernels& kernels = screen_kernels();
    const bool in_place = scored_in_place(queries, normalize());
    parallel_for(queries.rows, kPairsPerPiece, [&](int64_t begin, int64_t end, int) {
        std::vector<float> own(static_cast<size_t>(dim())), buffer(own);
        for (int64_t q = begin; q < end; ++q) {
            if (q + 1 < end) fetch_row(ids[q + 1]);
            if (!in_place) load_row(queries, q, 1, own.data());
            if (normalize()) {
                const double squares = kernels.dot(own.data(), own.data(), dim());
                kernels.scale(own.data(), dim(), 1 / std::sqrt(squares));
            }
            const float* query = in_place ? queries.row<float>(q) : own.data();
            scores[q] = score(query, stored_row(ids[q], buffer.data()));
        }
    });
}

void Bank::rank(const Rows& queries, const double* scores, const int64_t* ids, int64_t first_id,
                int64_t max_rank, const Filter& filter, int64_t* ranks) const {
    over_blocks(queries, metric(), kQueriesPerBlock, [&](const QueryBlock& block, int64_t first) {
        std::vector<Scored> targets;
        for (int64_t q = first; q < first + block.count(); ++q) targets.push_back({scores[q], ids[q]});
        const QueryPanels panels(block, by_cosine(block, targets));
        const BlockFilter wanted(filter, size(), first, block.count());
        const int workers = num_threads();
        RankPolicy policy(*this, block, std::move(targets), first_id, max_rank, workers);
        scan(*this, block, panels, wanted, workers, policy);
        for (int64_t q = 0; q < block.count(); ++q) ranks[first + q] = policy.rank(q);
    });
}

void Bank::best(const Rows& queries, const Band& band, int64_t limit, const Filter& filter,
                const QueryPrefixes* prefixes, double* scores, int64_t* ids) const {
    constexpr int64_t kQueriesPerPiece = 16;
    const int workers = num_threads();
    const ThresholdSeed seed(size(), limit);
    over_blocks(queries, metric(), queries_per_block(limit), [&](const QueryBlock& block, int64_t first) {
        std::vector<BestPolicy::Limits> limits;
        for (int64_t q = first; q < first + block.count(); ++q) limits.push_back({band.low[q], band.high[q]});
        BestPolicy policy(*this, block, std::move(limits), limit, seed.known(), workers);
        const QueryPanels panels(block, as_given(block.count()));
        const BlockFilter wanted(filter, size(), first, block.count());
        if (is_small_scan(seed, panels, workers)) {
            scan_small(*this, block, panels, wanted, workers, seed, policy);
        } else {
            seed.apply(*this, block, panels, wanted, workers, policy);
            std::optional<QueryPanels> first_panels;
            if (prefixes) {
                const QueryBlock prefix_block(prefixes->rows, Metric::inner_product, first,
                                              first + block.count());
                first_panels.emplace(prefix_block, as_given(block.count()), prefixes->tails + first);
            }
            scan(*this, block, panels, wanted, workers, policy, first_panels ? &*first_panels : nullptr);
        }
        policy.gather();
        const auto piece = [&](int64_t begin, int64_t end, int worker) {
            Tally tally;
            for (int64_t q = begin; q < end; ++q) {
                int64_t place = (first + q) * limit;
                for (const Scored& item : policy.best(worker, q, tally.rescored)) {
                    scores[place] = item.score;
                    ids[place++] = item.id;
                }
                std::fill(scores + place, scores + (first + q + 1) * limit, -kInfinity);
                std::fill(ids + place, ids + (first + q + 1) * limit, -1);
            }
            note(tally);
        };
        parallel_for(block.count(), kQueriesPerPiece, piece, workers);
    });
}

void Bank::sum_exp(const Rows& queries, double factor, const double* best, const uint8_t* held,
                   double* sums) const {
    over_blocks(queries, metric(), kQueriesPerBlock, [&](const QueryBlock& block, int64_t first) {
        SumExpPolicy(*this, block, factor, best + first, held).write(sums + first);
    });
}

}  // namespace lvm

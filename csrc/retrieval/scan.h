// The one loop under ranks, top-k and bands: screen block by block, certify, and leave what is undecided
// to the Policy, which says what it wants to know of the scores of query q of the block and is told:
//   Open open(q)            scores in [low, high] matter; those above are counted, those below ignored
//   bool settled(q)         nothing more can change the answer
//   void above(q, count)    `count` more scores are certainly > high
//   int64_t undecided(worker, pairs, first)   how many it scored of the pairs that may lie in the open
//   interval, of candidates from `first`
// Workers call at the same time, for the same queries but different candidates, or for different queries.

#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "retrieval/bank.h"
#include "retrieval/filter.h"
#include "retrieval/query_block.h"
#include "retrieval/screen.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {

struct Open {
    double low, high;
};

// A threshold as the kernels take it, rounded in the direction of the sign of `outwards`.
inline float rounded(double x, float outwards) {
    constexpr float kMost = std::numeric_limits<float>::max(), kUlps = 0x1p-22f, kTiny = 0x1p-126f;
    const float value = static_cast<float>(std::clamp<double>(x, -kMost, kMost));
    return std::clamp(value + outwards * (std::abs(value) * kUlps + kTiny), -kMost, kMost);
}

struct UndecidedPair {
    int32_t candidate, query;
    double lower, upper;  // bounds of the score; -+ infinity or NaN where nothing is known
};

// What one thread keeps for a whole scan, because fresh memory is slow.
template <class Policy>
class ScanWorker {
  public:
    ScanWorker(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels,
               const BlockFilter& filter, int worker, Policy& policy, const QueryPanels* prefixes = nullptr)
        : bank_(bank),
          queries_(queries),
          panels_(&panels),
          filter_(filter),
          prefixes_(prefixes),
          worker_(worker),
          policy_(policy),
          most_(screened_at_once(queries.chunks())) {}

    // Candidates [begin, begin + count): count <= kMostScreened, begin a multiple of kBlockRows.
    void scan(int64_t begin, int64_t count) {
        while (count > 0) {
            const int64_t width = std::min(count, width_);
            drop_settled();
            for (int64_t p = 0; p < panels_->count(); ++p) {
                poll();
                screen_panel(p, begin, width);
                if (pairs_.size() > kManyPairs) hand_over(begin);
            }
            hand_over(begin);
            begin += width;
            count -= width;
            width_ = std::min(2 * width_, most_);
        }
    }

    // Panel p against the whole bank; its coarse products are known, [candidate][32].
    void scan_known(int64_t p, const int32_t* products) {
        for (int64_t begin = 0; begin < bank_.size(); begin += most_) {
            poll();
            screen_panel(p, begin, std::min(most_, bank_.size() - begin), products + begin * kPanelQueries);
            hand_over(begin);
        }
    }

    const Tally& tally() const { return tally_; }

  private:
    static constexpr size_t kManyPairs = 1 << 15;

    void hand_over(int64_t begin) {
        tally_.rescored += policy_.undecided(worker_, pairs_, begin);
        pairs_.clear();
    }

    // Settled queries leave the panels once they are a quarter: until then moving the rest costs more.
    void drop_settled() {
        if (panels_->count() == 0) return;
        std::vector<int64_t> rest;
        for (int64_t q : panels_->queries()) {
            if (!policy_.settled(q)) rest.push_back(q);
        }
        if (4 * rest.size() > 3 * panels_->queries().size()) return;
        fewer_ = std::make_unique<QueryPanels>(queries_, std::move(rest));
        panels_ = fewer_.get();
    }

    void screen_panel(int64_t p, int64_t begin, int64_t count, const int32_t* products = nullptr) {
        const int64_t members = panels_->members(p), chunks = queries_.chunks();
        for (int64_t lane = 0; lane < members; ++lane) {
            const int64_t q = panels_->query(p, lane);
            const Open open = policy_.open(q);
            // Scores that no float32 reaches are as good as the largest; the rounding is outwards.
            const double low = queries_.screened(q, open.low, -1), high = queries_.screened(q, open.high, 1);
            low_[lane] = rounded(low / panels_->unit(p, lane), -1);
            high_[lane] = rounded(high / panels_->unit(p, lane), 1);
            if (!prefixes_) continue;
            prefix_low_[lane] = rounded(low / prefixes_->unit(p, lane), -1);
            prefix_high_[lane] = rounded(high / prefixes_->unit(p, lane), 1);
        }
        const uint32_t present = members == 32 ? ~uint32_t{0} : (uint32_t{1} << members) - 1;
        const PackedView& packed = bank_.packed();
        const int64_t offset = code_offset(begin, chunks);
        const uint32_t* allowed = nullptr;
        if (!filter_.is_none()) {
            filter_.masks(*panels_, p, begin, count, allowed_);
            allowed = allowed_;
        }
        const float* offsets = packed.offsets ? packed.offsets + begin : nullptr;
        const bool begins_with_prefixes = prefixes_ && unused_turns_ == 0;
        PrefixTask prefix;
        if (begins_with_prefixes) prefix = prefix_task(p, begin);
        const Screened done =
            screen_kernels().screen({&panels_->panel(p), chunks, packed.coarse + offset, packed.fine + offset,
                                     packed.bounds + begin, offsets, count, present, allowed, low_, high_,
                                     above_, open_, products, begins_with_prefixes ? &prefix : nullptr});
        if (prefixes_) note_use(begins_with_prefixes, done.left, members * count);
        for (int64_t lane = 0; lane < members; ++lane) {
            if (above_[lane]) policy_.above(panels_->query(p, lane), above_[lane]);
        }
        tally_.screened += members * count;
        tally_.refined += done.refined;
        for (const OpenPair* pair = open_; pair < open_ + done.open; ++pair) {
            const double unit = panels_->unit(p, pair->lane);
            const int64_t q = panels_->query(p, pair->lane);
            pairs_.push_back({pair->candidate, static_cast<int32_t>(q),
                              queries_.score(q, unit * pair->lower, -1),
                              queries_.score(q, unit * pair->upper, 1)});
        }
    }

    PrefixTask prefix_task(int64_t p, int64_t begin) const {
        const PackedView& packed = bank_.packed();
        const int64_t chunks = chunks_of(packed.prefix_dim);
        return {&prefixes_->panel(p),         chunks,      packed.prefix + code_offset(begin, chunks),
                packed.prefix_bounds + begin, prefix_low_, prefix_high_};
    }

    // Prefixes that leave more than an eighth undecided cost more than they spare: then they wait a while.
    void note_use(bool used, int64_t left, int64_t pairs) {
        constexpr int kTurns = 64;
        if (!used) {
            --unused_turns_;
        } else if (8 * left > pairs) {
            unused_turns_ = kTurns;
        }
    }

    const Bank& bank_;
    const QueryBlock& queries_;
    const QueryPanels* panels_;
    const BlockFilter& filter_;
    const QueryPanels* prefixes_;  // the same queries in the same places; or null
    std::unique_ptr<QueryPanels> fewer_;
    int worker_;
    Policy& policy_;
    int64_t most_;  // candidates screened at once
    Tally tally_;
    int64_t width_ = kBlockRows;  // narrow at first: the first candidates narrow the open intervals most
    alignas(64) float low_[kPanelQueries] = {}, high_[kPanelQueries] = {};
    alignas(64) float prefix_low_[kPanelQueries] = {}, prefix_high_[kPanelQueries] = {};
    int unused_turns_ = 0;
    int32_t above_[kPanelQueries];
    uint32_t allowed_[kMostScreened];
    OpenPair open_[kMostScreened * kPanelQueries];
    std::vector<UndecidedPair> pairs_;
};

// `panels`: the queries, best those together that will be settled or undecided together.
template <class Policy>
void scan(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels, const BlockFilter& filter,
          int workers, Policy& policy, const QueryPanels* prefixes = nullptr) {
    constexpr int64_t kPiecesPerWorker = 4;  // so that workers finish together
    std::vector<ScanWorker<Policy>> states;
    states.reserve(static_cast<size_t>(workers));
    for (int worker = 0; worker < workers; ++worker)
        states.emplace_back(bank, queries, panels, filter, worker, policy, prefixes);
    const int64_t share = bank.size() / (workers * kPiecesPerWorker) / kBlockRows * kBlockRows;
    const int64_t width = std::clamp(share, kBlockRows, kMostScreened);
    const int64_t pieces = (bank.size() + width - 1) / width;
    const auto piece = [&](int64_t first, int64_t last, int worker) {
        for (int64_t begin = first * width; begin < std::min(last * width, bank.size()); begin += width) {
            states[static_cast<size_t>(worker)].scan(begin, std::min(width, bank.size() - begin));
        }
    };
    parallel_for(pieces, 1, piece, workers);
    for (const ScanWorker<Policy>& state : states) bank.note(state.tally());
}

}  // namespace lvm

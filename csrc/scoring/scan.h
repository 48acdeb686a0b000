// The one loop under every question to the bank: screen block by block, certify, rescore.
//
// An Ending says what it wants to know of the scores of query q of the block, and is told by worker `worker`:
//   Open open(worker, q)          scores in [low, high] must be seen exactly; those above are counted, those
//                                 below ignored
//   void above(worker, q, count)  `count` more scores are certainly > high
//   void score(worker, q, id, exact)  an exact score that may lie in the open interval
//   bool settled(worker, q)       nothing more can change the answer

#pragma once

#include <algorithm>
#include <bit>
#include <limits>
#include <memory>
#include <numeric>
#include <vector>

#include "scoring/bank.h"
#include "scoring/query_block.h"
#include "scoring/screen.h"
#include "simd/thread_pool.h"

namespace lvm {

struct Open {
    double low, high;
};

// What one thread keeps for a whole scan, because fresh memory is slow.
template <class Ending>
class ScanWorker {
  public:
    ScanWorker(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels, int worker,
               Ending& ending)
        : bank_(bank),
          queries_(queries),
          panels_(&panels),
          worker_(worker),
          ending_(ending),
          row_(static_cast<size_t>(bank.dim())) {}

    // Candidates [begin, begin + count): count <= kMostScreened, begin a multiple of kBlockRows.
    void scan(int64_t begin, int64_t count) {
        while (count > 0) {
            const int64_t width = std::min(count, width_);
            drop_settled();
            for (int64_t p = 0; p < panels_->count(); ++p) screen_panel(p, begin, width);
            rescore(begin, width);
            begin += width;
            count -= width;
            width_ = std::min(2 * width_, kMostScreened);
        }
    }

  private:
    static constexpr double kMost = std::numeric_limits<float>::max();

    // Settled queries leave the panels once they are a quarter: until then moving the rest costs more.
    void drop_settled() {
        std::vector<int64_t> rest;
        for (int64_t q : panels_->queries()) {
            if (!ending_.settled(worker_, q)) rest.push_back(q);
        }
        if (4 * rest.size() > 3 * panels_->queries().size()) return;
        fewer_ = std::make_unique<QueryPanels>(queries_, std::move(rest));
        panels_ = fewer_.get();
    }

    void screen_panel(int64_t p, int64_t begin, int64_t count) {
        const int64_t members = panels_->members(p), chunks = queries_.chunks();
        for (int64_t lane = 0; lane < members; ++lane) {
            const int64_t q = panels_->query(p, lane);
            const Open open = ending_.open(worker_, q);
            // Scores that no float32 reaches are as good as the largest; the rounding is outwards.
            low_[lane] = rounded(panels_->in_units(p, lane, open.low), -1);
            high_[lane] = rounded(panels_->in_units(p, lane, open.high), 1);
        }
        const PackedView& packed = bank_.packed();
        const int64_t offset = code_offset(begin, chunks);
        const int64_t opened =
            screen_kernels().screen({&panels_->panel(p), chunks, packed.coarse + offset, packed.fine + offset,
                                     packed.bounds + begin, count, low_, high_, above_, open_});
        for (int64_t lane = 0; lane < members; ++lane) {
            if (above_[lane]) ending_.above(worker_, panels_->query(p, lane), above_[lane]);
        }
        if (opened > 0) collect(p, count);
    }

    void collect(int64_t p, int64_t count) {
        const int64_t members = panels_->members(p);
        const uint32_t present = members == 32 ? ~uint32_t{0} : (uint32_t{1} << members) - 1;
        for (int64_t i = 0; i < count; ++i) {
            for (uint32_t bits = open_[i] & present; bits; bits &= bits - 1) {
                pairs_.push_back({static_cast<int32_t>(i),
                                  static_cast<int32_t>(panels_->query(p, std::countr_zero(bits)))});
            }
        }
    }

    // Candidate by candidate: each stored row is fetched once, in the order of memory.
    void rescore(int64_t begin, int64_t count) {
        if (pairs_.empty()) return;
        std::vector<int32_t> ends(static_cast<size_t>(count) + 1);
        for (const Pair& pair : pairs_) ++ends[static_cast<size_t>(pair.candidate) + 1];
        std::partial_sum(ends.begin(), ends.end(), ends.begin());
        sorted_.resize(pairs_.size());
        for (const Pair& pair : pairs_) {
            sorted_[static_cast<size_t>(ends[static_cast<size_t>(pair.candidate)]++)] = pair;
        }
        pairs_.clear();
        const float* row = nullptr;
        int32_t candidate = -1;
        for (const Pair& pair : sorted_) {
            if (pair.candidate != candidate) row = bank_.stored_row(begin + pair.candidate, row_.data());
            candidate = pair.candidate;
            const double exact = screen_kernels().dot(queries_.row(pair.query), row, bank_.dim());
            ending_.score(worker_, pair.query, begin + candidate, exact);
        }
    }

    static float rounded(double x, float outwards) {
        constexpr float kUlps = 0x1p-22f, kTiny = 0x1p-126f;
        const float value = static_cast<float>(std::clamp(x, -kMost, kMost));
        const float far = value + outwards * (std::abs(value) * kUlps + kTiny);
        return std::clamp(far, -static_cast<float>(kMost), static_cast<float>(kMost));
    }

    const Bank& bank_;
    const QueryBlock& queries_;
    const QueryPanels* panels_;
    std::unique_ptr<QueryPanels> fewer_;
    int worker_;
    Ending& ending_;
    int64_t width_ = kBlockRows;  // narrow at first: the first candidates narrow the open intervals most
    std::vector<float> row_;
    alignas(64) float low_[kPanelQueries] = {}, high_[kPanelQueries] = {};
    int32_t above_[kPanelQueries];
    uint32_t open_[kMostScreened];
    struct Pair {
        int32_t candidate, query;
    };
    std::vector<Pair> pairs_, sorted_;  // undecided
};

// `order`: the queries, best those together that will be settled or undecided together.
template <class Ending>
void scan(const Bank& bank, const QueryBlock& queries, std::vector<int64_t> order, int workers,
          Ending& ending) {
    constexpr int64_t kPiecesPerWorker = 4;  // so that workers finish together
    const QueryPanels panels(queries, std::move(order));
    std::vector<ScanWorker<Ending>> states;
    for (int worker = 0; worker < workers; ++worker)
        states.emplace_back(bank, queries, panels, worker, ending);
    const int64_t share = bank.size() / (workers * kPiecesPerWorker) / kBlockRows * kBlockRows;
    const int64_t width = std::clamp(share, kBlockRows, kMostScreened);
    const int64_t pieces = (bank.size() + width - 1) / width;
    const auto piece = [&](int64_t first, int64_t last, int worker) {
        for (int64_t begin = first * width; begin < std::min(last * width, bank.size()); begin += width) {
            states[static_cast<size_t>(worker)].scan(begin, std::min(width, bank.size() - begin));
        }
    };
    parallel_for(pieces, 1, piece, workers);
}

}  // namespace lvm

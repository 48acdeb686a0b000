// Top-k and bands: the best candidates whose score lies in [low, high). The open interval narrows as the
// lists fill.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "scoring/best_list.h"
#include "scoring/scan.h"

namespace lvm {

class BestEnding {
  public:
    struct Limits {
        double low, high;        // wanted: low <= score < high
        const int64_t* exclude;  // ids not wanted
        int64_t excluded;
    };

    BestEnding(std::vector<Limits> limits, int64_t capacity, int workers)
        : limits_(std::move(limits)),
          lists_(limits_.size() * static_cast<size_t>(workers), BestList(capacity)),
          least_(limits_.size()) {
        for (size_t q = 0; q < least_.size(); ++q) least_[q].store(limits_[q].low, std::memory_order_relaxed);
    }

    Open open(int, int64_t q) const { return {least(q), limits_[static_cast<size_t>(q)].high}; }
    bool settled(int, int64_t) const { return false; }
    void above(int, int64_t, int64_t) {}
    void score(int worker, int64_t q, int64_t id, double exact) {
        const Limits& wanted = limits_[static_cast<size_t>(q)];
        if (!(exact >= least(q) && exact < wanted.high)) return;
        const int64_t* end = wanted.exclude + wanted.excluded;
        if (std::find(wanted.exclude, end, id) != end) return;
        BestList& list = lists_[at(worker, q)];
        list.offer({exact, id});
        raise_least(q, list.threshold());
    }

    // The best of all workers' lists, best first.
    std::vector<Scored> best(int64_t q) {
        BestList& merged = lists_[at(0, q)];
        for (size_t i = at(0, q) + limits_.size(); i < lists_.size(); i += limits_.size()) {
            for (const Scored& item : lists_[i].items()) merged.offer(item);
        }
        return merged.take_sorted();
    }

  private:
    size_t at(int worker, int64_t q) const {
        return static_cast<size_t>(worker) * limits_.size() + static_cast<size_t>(q);
    }

    // Scores below this cannot be among the best: the highest threshold of all workers' lists.
    double least(int64_t q) const { return least_[static_cast<size_t>(q)].load(std::memory_order_relaxed); }
    void raise_least(int64_t q, double threshold) {
        std::atomic<double>& least = least_[static_cast<size_t>(q)];
        double seen = least.load(std::memory_order_relaxed);
        while (seen < threshold && !least.compare_exchange_weak(seen, threshold, std::memory_order_relaxed)) {
        }
    }

    std::vector<Limits> limits_;
    std::vector<BestList> lists_;  // [worker][query]
    std::vector<std::atomic<double>> least_;
};

}  // namespace lvm

// Top-k and bands: the best candidates whose score lies in [low, high). The open interval narrows as the
// lists fill.
#pragma once

#include <algorithm>
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
          lists_(limits_.size() * static_cast<size_t>(workers), BestList(capacity)) {}

    Open open(int worker, int64_t q) const {
        const Limits& wanted = limits_[static_cast<size_t>(q)];
        return {std::max(wanted.low, lists_[at(worker, q)].threshold()), wanted.high};
    }
    bool settled(int, int64_t) const { return false; }
    void above(int, int64_t, int64_t) {}
    void score(int worker, int64_t q, int64_t id, double exact) {
        const Limits& wanted = limits_[static_cast<size_t>(q)];
        BestList& list = lists_[at(worker, q)];
        if (!(exact >= wanted.low && exact < wanted.high) || exact < list.threshold()) return;
        if (std::find(wanted.exclude, wanted.exclude + wanted.excluded, id) !=
            wanted.exclude + wanted.excluded)
            return;
        list.offer({exact, id});
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

    std::vector<Limits> limits_;
    std::vector<BestList> lists_;  // [worker][query]
};

}  // namespace lvm

// The best `capacity` scored ids seen so far.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

namespace lvm {

struct Scored {
    double score;
    int64_t id;
};

// The total order of all results: higher scores first, equal scores by lower id.
inline bool better(const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
}

class BestList {
  public:
    explicit BestList(int64_t capacity) : capacity_(capacity) {}

    // Scores below this cannot enter any more.
    double threshold() const {
        return full() ? items_.front().score : -std::numeric_limits<double>::infinity();
    }

    void offer(const Scored& item) {
        if (!full()) {
            items_.push_back(item);
            std::push_heap(items_.begin(), items_.end(), better);
        } else if (better(item, items_.front())) {
            std::pop_heap(items_.begin(), items_.end(), better);
            items_.back() = item;
            std::push_heap(items_.begin(), items_.end(), better);
        }
    }

    const std::vector<Scored>& items() const { return items_; }

    std::vector<Scored> take_sorted() {
        std::sort_heap(items_.begin(), items_.end(), better);
        return std::move(items_);
    }

  private:
    bool full() const { return static_cast<int64_t>(items_.size()) == capacity_; }

    int64_t capacity_;           // at least 1
    std::vector<Scored> items_;  // a heap whose front is the worst
};

}  // namespace lvm

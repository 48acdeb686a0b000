// Scored ids and their order, and the highest numbers of many lists.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "core/aligned_buffer.h"

namespace lvm {

struct Scored {
    double score;
    int64_t id;
};

// The total order of all results: higher scores first, equal scores by lower id.
inline bool better(const Scored& a, const Scored& b) {
    return a.score != b.score ? a.score > b.score : a.id < b.id;
}

// The `capacity` highest of the numbers offered to each list; all lists lie one after another.
class HighestLists {
  public:
    HighestLists(int64_t lists, int64_t capacity)
        : capacity_(capacity), numbers_(lists * capacity), sizes_(static_cast<size_t>(lists)) {}

    // Numbers below this cannot enter any more.
    double threshold(int64_t list) const {
        return full(list) ? numbers_.data()[list * capacity_] : -std::numeric_limits<double>::infinity();
    }

    void offer(int64_t list, double x) {
        double* heap = numbers_.data() + list * capacity_;  // its front is the lowest
        if (!full(list)) {
            heap[sizes_[static_cast<size_t>(list)]++] = x;
            std::push_heap(heap, heap + sizes_[static_cast<size_t>(list)], std::greater<>());
        } else if (x > heap[0]) {
            replace_front(heap, x);
        }
    }

    void clear(int64_t list) { sizes_[static_cast<size_t>(list)] = 0; }

  private:
    bool full(int64_t list) const { return sizes_[static_cast<size_t>(list)] == capacity_; }

    void replace_front(double* heap, double x) const {
        int64_t at = 0;
        for (int64_t child = 1; child < capacity_; child = 2 * at + 1) {
            if (child + 1 < capacity_ && heap[child + 1] < heap[child]) ++child;
            if (!(heap[child] < x)) break;
            heap[at] = heap[child];
            at = child;
        }
        heap[at] = x;
    }

    int64_t capacity_;  // at least 1
    AlignedBuffer<double> numbers_;
    std::vector<int64_t> sizes_;
};

}  // namespace lvm

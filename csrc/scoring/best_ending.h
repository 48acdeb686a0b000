// Top-k and bands: the best candidates whose score lies in [low, high). Brackets alone say which may be among
// them: the open interval narrows as their lower bounds rise. Few are left to be scored exactly at the end.
#pragma once

#include <algorithm>
#include <atomic>
#include <cmath>
#include <vector>

#include "scoring/best_list.h"
#include "scoring/rescorer.h"

namespace lvm {

class BestEnding {
  public:
    struct Limits {
        double low, high;        // wanted: low <= score < high
        const int64_t* exclude;  // ids not wanted
        int64_t excluded;
    };

    BestEnding(const Bank& bank, const QueryBlock& queries, std::vector<Limits> limits, int64_t capacity,
               int workers)
        : limits_(std::move(limits)),
          capacity_(capacity),
          lists_(limits_.size() * static_cast<size_t>(workers), List(capacity)),
          least_(limits_.size()),
          rescorers_(static_cast<size_t>(workers), Rescorer(bank, queries)) {
        for (size_t q = 0; q < least_.size(); ++q) least_[q].store(limits_[q].low, std::memory_order_relaxed);
    }

    Open open(int64_t q) const { return {least(q), limits(q).high}; }
    bool settled(int64_t) const { return false; }
    void above(int64_t, int64_t) {}

    int64_t undecided(int worker, const std::vector<UndecidedPair>& pairs, int64_t first) {
        int64_t rescored = 0;
        for (const UndecidedPair& pair : pairs) {
            if (pair.upper < least(pair.query)) continue;
            const int64_t id = first + pair.candidate;
            const Limits& wanted = limits(pair.query);
            const int64_t* end = wanted.exclude + wanted.excluded;
            if (std::find(wanted.exclude, end, id) != end) continue;
            List& list = lists_[at(worker, pair.query)];
            list.items.push_back({id, pair.lower, pair.upper});
            if (pair.lower >= wanted.low && pair.upper < wanted.high) list.lowers.offer({pair.lower, id});
            raise_least(pair.query, list.lowers.threshold());
            if (static_cast<int64_t>(list.items.size()) > 2 * capacity_ + kSpare) {
                rescored += thin_out(worker, pair.query);
            }
        }
        return rescored;
    }

    // The best of all workers' lists, best first; `rescored` gets more by the pairs that were scored. Queries
    // are independent: several threads may ask, each as a worker of its own.
    std::vector<Scored> best(int worker, int64_t q, int64_t& rescored) {
        List& merged = lists_[at(0, q)];
        for (size_t i = at(0, q) + limits_.size(); i < lists_.size(); i += limits_.size()) {
            merged.items.insert(merged.items.end(), lists_[i].items.begin(), lists_[i].items.end());
            for (const Scored& item : lists_[i].lowers.items()) merged.lowers.offer(item);
        }
        raise_least(q, merged.lowers.threshold());
        drop_hopeless(merged, q);
        rescored += make_exact(merged, worker, q);
        std::vector<Scored> best;
        for (const Item& item : merged.items) best.push_back({item.lower, item.id});
        return best;
    }

  private:
    static constexpr int64_t kSpare = 256;

    struct Item {
        int64_t id;
        double lower, upper;  // equal once the score is known
    };
    struct List {
        explicit List(int64_t capacity) : lowers(capacity) {}

        std::vector<Item> items;  // all that may be among the best
        BestList lowers;          // the best lower bounds of those certainly within the limits
    };

    const Limits& limits(int64_t q) const { return limits_[static_cast<size_t>(q)]; }
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

    void drop_hopeless(List& list, int64_t q) {
        std::erase_if(list.items, [floor = least(q)](const Item& item) { return item.upper < floor; });
    }

    // Keeps the best `capacity` items within the limits, exactly scored, best first.
    int64_t make_exact(List& list, int worker, int64_t q) {
        const Limits& wanted = limits(q);
        int64_t rescored = 0;
        for (Item& item : list.items) {
            if (item.lower == item.upper) continue;
            item.lower = item.upper = rescorers_[static_cast<size_t>(worker)].score(q, item.id);
            ++rescored;
        }
        std::erase_if(list.items, [&](const Item& item) {
            return !(item.lower >= wanted.low && item.lower < wanted.high);
        });
        std::sort(list.items.begin(), list.items.end(),
                  [](const Item& a, const Item& b) { return better({a.lower, a.id}, {b.lower, b.id}); });
        if (static_cast<int64_t>(list.items.size()) > capacity_)
            list.items.resize(static_cast<size_t>(capacity_));
        return rescored;
    }

    // Many that brackets cannot tell apart: memory stays bounded, because exact scores can.
    int64_t thin_out(int worker, int64_t q) {
        List& list = lists_[at(worker, q)];
        drop_hopeless(list, q);
        if (static_cast<int64_t>(list.items.size()) <= capacity_ + kSpare / 2) return 0;
        const int64_t rescored = make_exact(list, worker, q);
        list.lowers = BestList(capacity_);
        for (const Item& item : list.items) list.lowers.offer({item.lower, item.id});
        raise_least(q, list.lowers.threshold());
        return rescored;
    }

    std::vector<Limits> limits_;
    int64_t capacity_;
    std::vector<List> lists_;  // [worker][query]
    std::vector<std::atomic<double>> least_;
    std::vector<Rescorer> rescorers_;
};

}  // namespace lvm

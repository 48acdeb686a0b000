// Top-k and bands: the best candidates whose score lies in [low, high). Brackets alone say which may be among
// them: the open interval narrows as their lower bounds rise. Few are left to be scored exactly at the end.
#pragma once

#include <algorithm>
#include <atomic>
#include <span>
#include <vector>

#include "retrieval/best_list.h"
#include "retrieval/rescorer.h"

namespace lvm {

class BestPolicy {
  public:
    struct Limits {
        double low, high;  // wanted: low <= score < high
    };

    // `seeds`: how many candidates of each query will be known beforehand, at most.
    BestPolicy(const Bank& bank, const QueryBlock& queries, std::vector<Limits> limits, int64_t capacity,
               int64_t seeds, int workers)
        : limits_(std::move(limits)),
          capacity_(capacity),
          workers_(workers),
          least_(limits_.size()),
          lowers_(workers * count(), capacity),
          seeds_(seeds),
          seen_(static_cast<size_t>(count() * seeds), -1),
          known_(limits_.size()),
          logs_(static_cast<size_t>(workers)),
          rescorers_(static_cast<size_t>(workers), Rescorer(bank, queries)) {
        for (int64_t q = 0; q < count(); ++q) {
            least_[static_cast<size_t>(q)].store(limits_[static_cast<size_t>(q)].low,
                                                 std::memory_order_relaxed);
        }
    }

    Open open(int64_t q) const { return {least(q), limits(q).high}; }
    bool settled(int64_t) const { return false; }
    void above(int64_t, int64_t) {}

    // Scores some candidates of query q beforehand: a good threshold spares the scan most of its pairs.
    // Returns how many it scored.
    int64_t know(int worker, int64_t q, const std::vector<Scored>& candidates) {
        for (const Scored& item : candidates) rescorer(worker).fetch(item.id);
        std::vector<Scored>& known = known_[static_cast<size_t>(q)];
        known.reserve(candidates.size());
        for (const Scored& item : candidates) known.push_back({rescorer(worker).score(q, item.id), item.id});
        std::transform(known.begin(), known.end(), seen(q).begin(),
                       [](const Scored& item) { return item.id; });
        std::sort(seen(q).begin(), seen(q).end());
        std::erase_if(known, [&](const Scored& item) { return !wanted(q, item.score); });
        for (int w = 0; w < workers_; ++w) offer_known(w, q);
        return static_cast<int64_t>(candidates.size());
    }

    int64_t undecided(int worker, const std::vector<UndecidedPair>& pairs, int64_t first) {
        std::vector<Entry>& log = logs_[static_cast<size_t>(worker)];
        for (const UndecidedPair& pair : pairs) {
            const int64_t q = pair.query, id = first + pair.candidate;
            if (pair.upper < least(q) || is_seen(q, id)) continue;
            log.push_back({q, id, pair.lower, pair.upper});
            if (pair.lower > least(q) && pair.upper < limits(q).high) offer(worker, q, pair.lower);
        }
        return static_cast<int64_t>(log.size()) > count() * (2 * capacity_ + kSpare) ? thin_out(worker) : 0;
    }

    // After the scan: brings together what the workers found.
    void gather() {
        for (std::vector<Entry>& log : logs_) {
            drop_hopeless(log);
            if (&log != &logs_[0]) logs_[0].insert(logs_[0].end(), log.begin(), log.end());
        }
        sort_by_query(logs_[0]);
    }

    // The best of query q, best first; `rescored` gets more by the pairs that were scored. Queries are
    // independent: several threads may ask, each as a worker of its own.
    std::vector<Scored> best(int worker, int64_t q, int64_t& rescored) {
        std::vector<Scored> best = known_[static_cast<size_t>(q)];
        const auto [begin, end] =
            std::equal_range(logs_[0].begin(), logs_[0].end(), Entry{q, 0, 0, 0}, in_order);
        for (const Entry& entry : std::span(begin, end)) {
            if (!(entry.upper < least(q))) rescorer(worker).fetch(entry.id);
        }
        for (const Entry& entry : std::span(begin, end)) {
            if (!(entry.upper < least(q))) best.push_back(exact(worker, entry, rescored));
        }
        keep_best(best, q);
        return best;
    }

  private:
    static constexpr int64_t kSpare = 256;

    struct Entry {
        int64_t query, id;
        double lower, upper;  // equal once the score is known
    };
    static bool in_order(const Entry& a, const Entry& b) { return a.query < b.query; }

    int64_t count() const { return static_cast<int64_t>(limits_.size()); }
    const Limits& limits(int64_t q) const { return limits_[static_cast<size_t>(q)]; }
    bool wanted(int64_t q, double score) const { return score >= limits(q).low && score < limits(q).high; }
    Rescorer& rescorer(int worker) { return rescorers_[static_cast<size_t>(worker)]; }

    // Ids whose score is known already, in order; -1 where there are fewer.
    std::span<int64_t> seen(int64_t q) { return {seen_.data() + q * seeds_, static_cast<size_t>(seeds_)}; }
    bool is_seen(int64_t q, int64_t id) { return std::binary_search(seen(q).begin(), seen(q).end(), id); }

    // Scores below this cannot be among the best: the highest threshold of all workers' lists.
    double least(int64_t q) const { return least_[static_cast<size_t>(q)].load(std::memory_order_relaxed); }
    void offer(int worker, int64_t q, double lower) {
        const int64_t list = worker * count() + q;
        lowers_.offer(list, lower);
        const double threshold = lowers_.threshold(list);
        std::atomic<double>& least = least_[static_cast<size_t>(q)];
        double seen = least.load(std::memory_order_relaxed);
        while (seen < threshold && !least.compare_exchange_weak(seen, threshold, std::memory_order_relaxed)) {
        }
    }
    void offer_known(int worker, int64_t q) {
        for (const Scored& item : known_[static_cast<size_t>(q)]) offer(worker, q, item.score);
    }

    Scored exact(int worker, const Entry& entry, int64_t& rescored) {
        if (entry.lower == entry.upper) return {entry.lower, entry.id};
        ++rescored;
        return {rescorer(worker).score(entry.query, entry.id), entry.id};
    }

    // Keeps the best `capacity` within the limits, best first.
    void keep_best(std::vector<Scored>& items, int64_t q) const {
        std::erase_if(items, [&](const Scored& item) { return !wanted(q, item.score); });
        std::sort(items.begin(), items.end(), better);
        if (static_cast<int64_t>(items.size()) > capacity_) items.resize(static_cast<size_t>(capacity_));
    }

    void drop_hopeless(std::vector<Entry>& log) const {
        std::erase_if(log, [&](const Entry& entry) { return entry.upper < least(entry.query); });
    }

    void sort_by_query(std::vector<Entry>& log) const { std::sort(log.begin(), log.end(), in_order); }

    // Many that brackets cannot tell apart: memory stays bounded, because exact scores can.
    int64_t thin_out(int worker) {
        std::vector<Entry>& log = logs_[static_cast<size_t>(worker)];
        drop_hopeless(log);
        if (static_cast<int64_t>(log.size()) <= count() * (capacity_ + kSpare / 2)) return 0;
        sort_by_query(log);
        int64_t rescored = 0;
        std::vector<Entry> rest;
        for (auto begin = log.begin(); begin != log.end();) {
            const int64_t q = begin->query;
            const auto end = std::upper_bound(begin, log.end(), *begin, in_order);
            if (end - begin <= capacity_ + kSpare / 2) {
                rest.insert(rest.end(), begin, end);
            } else {
                std::vector<Scored> items;
                for (const Entry& entry : std::span(begin, end))
                    items.push_back(exact(worker, entry, rescored));
                keep_best(items, q);
                lowers_.clear(worker * count() + q);
                offer_known(worker, q);
                for (const Scored& item : items) {
                    rest.push_back({q, item.id, item.score, item.score});
                    offer(worker, q, item.score);
                }
            }
            begin = end;
        }
        log = std::move(rest);
        return rescored;
    }

    std::vector<Limits> limits_;
    int64_t capacity_, workers_;
    std::vector<std::atomic<double>> least_;
    HighestLists lowers_;  // [worker][query] the best lower bounds of those certainly within the limits
    int64_t seeds_;
    std::vector<int64_t> seen_;
    std::vector<std::vector<Scored>> known_;
    std::vector<std::vector<Entry>> logs_;  // of each worker: all that may be among the best
    std::vector<Rescorer> rescorers_;
};

}  // namespace lvm

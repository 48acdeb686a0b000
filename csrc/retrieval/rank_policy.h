// Ranks: how many candidates beat the target. What is open is only the target's own score.
#pragma once

#include <algorithm>
#include <atomic>
#include <vector>

#include "retrieval/best_list.h"
#include "retrieval/rescorer.h"

namespace lvm {

class RankPolicy {
  public:
    // targets[q]: the exact score and id of query q's target; candidate i counts as id first_id + i.
    RankPolicy(const Bank& bank, const QueryBlock& queries, std::vector<Scored> targets, int64_t first_id,
               int64_t max_rank, int workers)
        : targets_(std::move(targets)),
          first_id_(first_id),
          max_rank_(max_rank),
          counts_(targets_.size()),
          rescorers_(static_cast<size_t>(workers), Rescorer(bank, queries)) {}

    Open open(int64_t q) const { return {target(q).score, target(q).score}; }
    // A certain miss: nothing more to learn.
    bool settled(int64_t q) const {
        return counts_[static_cast<size_t>(q)].load(std::memory_order_relaxed) >= max_rank_;
    }
    void above(int64_t q, int64_t more) {
        counts_[static_cast<size_t>(q)].fetch_add(more, std::memory_order_relaxed);
    }
    int64_t undecided(int worker, const std::vector<UndecidedPair>& pairs, int64_t first) {
        rescorers_[static_cast<size_t>(worker)].scores(pairs, first,
                                                       [this](int64_t q, int64_t id, double score) {
                                                           if (better({score, first_id_ + id}, target(q)))
                                                               above(q, 1);
                                                       });
        return static_cast<int64_t>(pairs.size());
    }

    int64_t rank(int64_t q) const { return std::min(counts_[static_cast<size_t>(q)].load(), max_rank_); }

  private:
    const Scored& target(int64_t q) const { return targets_[static_cast<size_t>(q)]; }

    std::vector<Scored> targets_;
    int64_t first_id_, max_rank_;
    std::vector<std::atomic<int64_t>> counts_;
    std::vector<Rescorer> rescorers_;
};

}  // namespace lvm

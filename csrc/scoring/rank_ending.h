// Ranks: how many candidates beat the target. What is open is only the target's own score.
#pragma once

#include <algorithm>
#include <vector>

#include "scoring/best_list.h"
#include "scoring/scan.h"

namespace lvm {

class RankEnding {
  public:
    // targets[q]: the exact score and id of query q's target.
    RankEnding(std::vector<Scored> targets, int64_t max_rank, int workers)
        : targets_(std::move(targets)),
          max_rank_(max_rank),
          counts_(targets_.size() * static_cast<size_t>(workers)) {}

    Open open(int worker, int64_t q) const {
        if (settled(worker, q)) return {kNever, kNever};
        return {target(q).score, target(q).score};
    }
    // A certain miss: nothing more to learn.
    bool settled(int worker, int64_t q) const { return count(worker, q) >= max_rank_; }
    void above(int worker, int64_t q, int64_t more) { count(worker, q) += more; }
    void score(int worker, int64_t q, int64_t id, double exact) {
        count(worker, q) += better({exact, id}, target(q));
    }

    int64_t rank(int64_t q) const {
        int64_t total = 0;
        for (size_t i = static_cast<size_t>(q); i < counts_.size(); i += targets_.size()) total += counts_[i];
        return std::min(total, max_rank_);
    }

  private:
    static constexpr double kNever = std::numeric_limits<double>::infinity();

    const Scored& target(int64_t q) const { return targets_[static_cast<size_t>(q)]; }
    int64_t& count(int worker, int64_t q) {
        return counts_[static_cast<size_t>(worker) * targets_.size() + static_cast<size_t>(q)];
    }
    int64_t count(int worker, int64_t q) const { return const_cast<RankEnding*>(this)->count(worker, q); }

    std::vector<Scored> targets_;
    int64_t max_rank_;
    std::vector<int64_t> counts_;  // [worker][query]
};

}  // namespace lvm

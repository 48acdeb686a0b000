// Exact scores of pairs that screening could not decide.
#pragma once

#include <numeric>
#include <vector>

#include "retrieval/bank.h"
#include "retrieval/query_block.h"
#include "retrieval/scan.h"
#include "runtime/interrupt.h"

namespace lvm {

// Each thread has its own.
class Rescorer {
  public:
    Rescorer(const Bank& bank, const QueryBlock& queries)
        : bank_(bank), queries_(queries), row_(static_cast<size_t>(bank.dim())) {}

    void fetch(int64_t id) const { bank_.fetch_row(id); }

    double score(int64_t query, int64_t id) {
        if (--until_poll_ == 0) {
            poll();
            until_poll_ = kBetweenPolls;
        }
        if (id != id_) stored_ = bank_.stored_row(id, row_.data());
        id_ = id;
        return bank_.score(queries_.row(query), stored_);
    }

    // Calls each(query, id, score) candidate by candidate: each stored row is fetched once, in the order of
    // memory.
    template <class Each>
    void scores(const std::vector<UndecidedPair>& pairs, int64_t first, const Each& each) {
        ends_.assign(kMostScreened + 1, 0);
        for (const UndecidedPair& pair : pairs) ++ends_[static_cast<size_t>(pair.candidate) + 1];
        std::partial_sum(ends_.begin(), ends_.end(), ends_.begin());
        sorted_.resize(pairs.size());
        for (const UndecidedPair& pair : pairs) {
            sorted_[static_cast<size_t>(ends_[static_cast<size_t>(pair.candidate)]++)] = pair;
        }
        for (size_t i = 0; i < sorted_.size(); ++i) {
            if (i + 1 < sorted_.size()) fetch(first + sorted_[i + 1].candidate);
            const int64_t id = first + sorted_[i].candidate;
            each(sorted_[i].query, id, score(sorted_[i].query, id));
        }
    }

  private:
    static constexpr int kBetweenPolls = 64;  // scores

    const Bank& bank_;
    const QueryBlock& queries_;
    std::vector<float> row_;
    const float* stored_ = nullptr;
    int64_t id_ = -1;
    int until_poll_ = kBetweenPolls;
    std::vector<int32_t> ends_;
    std::vector<UndecidedPair> sorted_;
};

}  // namespace lvm

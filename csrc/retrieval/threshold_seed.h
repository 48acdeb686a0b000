// Seeds of the thresholds of top-k and bands: a sample of the candidates, all of them in a small bank
// (small_scan.h), is scored before the scan, which then begins with good thresholds.
//
// Coarse products find the candidate that promises most in each of some groups; the best of these are scored
// exactly. What they decide is only where the scan begins: results do not depend on the sample.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"
#include "retrieval/best_policy.h"
#include "runtime/interrupt.h"

namespace lvm {

class ThresholdSeed {
  public:
    // Of a bank of `size` candidates, for lists of `wanted`.
    ThresholdSeed(int64_t size, int64_t wanted) : size_(size), wanted_(wanted) {
        constexpr int64_t kShare = 16, kGroupsEach = 8, kFewest = 64, kMost = 1024;
        const int64_t blocks = blocks_ = (size + kBlockRows - 1) / kBlockRows;
        groups_ = std::min(blocks, std::clamp(kGroupsEach * wanted, kFewest, kMost));
        if (groups_ == 0 || groups_ < 2 * wanted) {  // too few to be of use
            wanted_ = groups_ = 0;
            return;
        }
        group_blocks_ = std::max<int64_t>(1, blocks / kShare / groups_);
        stride_ = blocks / (groups_ * group_blocks_);
    }

    // Whether it looks at every candidate: then the scan need not make its coarse products again.
    bool is_whole() const { return groups_ > 0 && groups_ == blocks_; }
    int64_t blocks() const { return blocks_; }

    // How many candidates of each query will be known.
    int64_t known() const { return wanted_; }

    void apply(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels,
               const BlockFilter& filter, int workers, BestPolicy& policy) const {
        if (groups_ == 0) return;
        constexpr int64_t kGroupsPerPiece = 8;
        const int64_t line = groups_ * kPanelQueries;
        AlignedBuffer<float> lower(panels.count() * line), place(panels.count() * line);
        const auto look = [&](int64_t begin, int64_t end, int) {
            for (int64_t p = 0; p < panels.count(); ++p) {
                const int64_t at = p * line + begin * kPanelQueries;
                find_peaks(bank, queries, panels, filter, p, begin, end, policy, lower.data() + at,
                           place.data() + at, nullptr);
            }
        };
        parallel_for(groups_, kGroupsPerPiece, look, workers);
        const auto know = [&](int64_t begin, int64_t end, int worker) {
            for (int64_t p = begin; p < end; ++p)
                know_best(bank, panels, p, worker, lower.data() + p * line, place.data() + p * line, policy);
        };
        parallel_for(panels.count(), 1, know, workers);
    }

    // The same for panel p alone; `products` gets its coarse products, [blocks() * kBlockRows][32].
    void apply_to_panel(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels,
                        const BlockFilter& filter, int64_t p, int worker, BestPolicy& policy,
                        int32_t* products) const {
        std::vector<float> lower(static_cast<size_t>(groups_ * kPanelQueries)), place(lower);
        find_peaks(bank, queries, panels, filter, p, 0, groups_, policy, lower.data(), place.data(),
                   products);
        know_best(bank, panels, p, worker, lower.data(), place.data(), policy);
    }

  private:
    void know_best(const Bank& bank, const QueryPanels& panels, int64_t p, int worker, const float* lower,
                   const float* place, BestPolicy& policy) const {
        Tally tally;
        std::vector<Scored> chosen;
        for (int64_t lane = 0; lane < panels.members(p); ++lane) {
            choose(lower + lane, place + lane, chosen);
            tally.rescored += policy.know(worker, panels.query(p, lane), chosen);
        }
        bank.note(tally);
    }

    int64_t first_of(int64_t group) const { return group * group_blocks_ * stride_ * kBlockRows; }

    void find_peaks(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels,
                    const BlockFilter& filter, int64_t p, int64_t begin, int64_t end,
                    const BestPolicy& policy, float* lower, float* place, int32_t* products) const {
        alignas(64) float low[kPanelQueries] = {}, high[kPanelQueries] = {};
        for (int64_t lane = 0; lane < panels.members(p); ++lane) {
            const Open open = policy.open(panels.query(p, lane));
            const int64_t q = panels.query(p, lane);
            low[lane] = rounded(queries.screened(q, open.low, -1) / panels.unit(p, lane), -1);
            high[lane] = rounded(queries.screened(q, open.high, 1) / panels.unit(p, lane), 1);
        }
        const int64_t chunks = chunks_of(bank.dim()), group_rows = group_blocks_ * kBlockRows;
        const int64_t at_once = std::max(int64_t{1}, 8 * screened_at_once(chunks) / group_rows);
        const PackedView& packed = bank.packed();
        std::vector<uint32_t> allowed(filter.is_none() ? 0 : static_cast<size_t>(at_once * group_rows));
        for (int64_t group = begin; group < end; group += at_once) {
            poll();
            const int64_t first = first_of(group), line = (group - begin) * kPanelQueries;
            const int64_t groups = std::min(at_once, end - group);
            if (!allowed.empty()) allow(panels, filter, p, first, groups * group_blocks_, allowed.data());
            screen_kernels().peaks({&panels.panel(p), chunks, packed.coarse + code_offset(first, chunks),
                                    packed.bounds + first, packed.offsets ? packed.offsets + first : nullptr,
                                    size_ - first, stride_, groups, group_blocks_, low, high, lower + line,
                                    place + line, allowed.empty() ? nullptr : allowed.data(),
                                    products ? products + line * group_rows : nullptr});
        }
    }

    // The masks of every stride-th block.
    void allow(const QueryPanels& panels, const BlockFilter& filter, int64_t p, int64_t first, int64_t blocks,
               uint32_t* allowed) const {
        for (int64_t b = 0; b < blocks; ++b) {
            filter.masks(panels, p, first + b * stride_ * kBlockRows, kBlockRows, allowed + b * kBlockRows);
        }
    }

    // Leaves the candidates of the highest peaks of one query, whose peaks lie kPanelQueries apart.
    void choose(const float* lower, const float* place, std::vector<Scored>& chosen) const {
        chosen.clear();
        for (int64_t g = 0; g < groups_; ++g) {
            const int64_t i = static_cast<int64_t>(place[g * kPanelQueries]);
            if (i < 0) continue;
            const int64_t block = g * group_blocks_ + i / kBlockRows;
            chosen.push_back({lower[g * kPanelQueries], block * stride_ * kBlockRows + i % kBlockRows});
        }
        if (static_cast<int64_t>(chosen.size()) <= wanted_) return;
        const auto last = chosen.begin() + static_cast<std::ptrdiff_t>(wanted_);
        std::nth_element(chosen.begin(), last, chosen.end(), better);
        chosen.erase(last, chosen.end());
    }

    int64_t size_, wanted_, blocks_, groups_, group_blocks_ = 1, stride_ = 1;
};

}  // namespace lvm

// The scan of a bank so small that its sample is all of it: panel by panel, so that the coarse products of
// one stay in the second cache from the sample to the screening and are made once.
#pragma once

#include <cstdint>
#include <vector>

#include "core/aligned_buffer.h"
#include "retrieval/best_policy.h"
#include "retrieval/scan.h"
#include "retrieval/threshold_seed.h"

namespace lvm {

// Whether it pays: the products of one panel stay in the second cache, and every thread has panels of its
// own.
inline bool is_small_scan(const ThresholdSeed& seed, const QueryPanels& panels, int workers) {
    constexpr int64_t kMostBlocks = 96;  // 384 KB of products
    return seed.is_whole() && seed.blocks() <= kMostBlocks && panels.count() >= 4 * workers;
}

inline void scan_small(const Bank& bank, const QueryBlock& queries, const QueryPanels& panels,
                       const BlockFilter& filter, int workers, const ThresholdSeed& seed,
                       BestPolicy& policy) {
    const int64_t pairs = seed.blocks() * kBlockRows * kPanelQueries;
    AlignedBuffer<int32_t> products(workers * pairs);
    std::vector<ScanWorker<BestPolicy>> states;
    states.reserve(static_cast<size_t>(workers));
    for (int worker = 0; worker < workers; ++worker)
        states.emplace_back(bank, queries, panels, filter, worker, policy);
    const auto some = [&](int64_t begin, int64_t end, int worker) {
        int32_t* own = products.data() + worker * pairs;
        for (int64_t p = begin; p < end; ++p) {
            seed.apply_to_panel(bank, queries, panels, filter, p, worker, policy, own);
            states[static_cast<size_t>(worker)].scan_known(p, own);
        }
    };
    parallel_for(panels.count(), 1, some, workers);
    for (const ScanWorker<BestPolicy>& state : states) bank.note(state.tally());
}

}  // namespace lvm

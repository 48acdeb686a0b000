#include "retrieval/filter.h"

#include <algorithm>
#include <cstring>

#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int kBits = 32;
static_assert(kBits == kBlockRows && kBits == kPanelQueries);

// Row k, column j is bit 31 - j of rows[k]: swaps ever smaller squares (Warren, Hacker's Delight, sec. 7-3).
void transpose(uint32_t (&rows)[kBits]) {
    uint32_t mask = 0x0000ffff;
    for (int step = kBits / 2; step; step /= 2, mask ^= mask << step) {
        for (int base = 0; base < kBits; base += 2 * step) {
            for (int k = base; k < base + step; ++k) {
                const uint32_t swapped = (rows[k] ^ (rows[k + step] >> step)) & mask;
                rows[k] ^= swapped;
                rows[k + step] ^= swapped << step;
            }
        }
    }
}

}  // namespace

BlockFilter::BlockFilter(const Filter& filter, int64_t size, int64_t first, int64_t count)
    : filter_(filter), size_(size), first_(first) {
    constexpr int64_t kQueriesPerPiece = 16;
    if (filter.excluded == 0 && filter.ranges_each == 0) return;
    ranges_.resize(static_cast<size_t>(count));
    parallel_for(count, kQueriesPerPiece, [&](int64_t begin, int64_t end, int) {
        for (int64_t q = begin; q < end; ++q) {
            poll();
            gather_ranges(q);
        }
    });
}

void BlockFilter::gather_ranges(int64_t q) {
    std::vector<Range>& ranges = ranges_[static_cast<size_t>(q)];
    const int64_t* ids = filter_.exclude + (first_ + q) * filter_.excluded;
    for (const int64_t* id = ids; id < ids + filter_.excluded; ++id) {
        if (*id >= 0) ranges.push_back({*id, *id + 1});
    }
    const int64_t* pairs = filter_.ranges + (first_ + q) * filter_.ranges_each * 2;
    for (const int64_t* pair = pairs; pair < pairs + filter_.ranges_each * 2; pair += 2) {
        if (pair[0] < pair[1]) ranges.push_back({pair[0], pair[1]});
    }
    const auto is_before = [](const Range& a, const Range& b) { return a.begin < b.begin; };
    if (!std::is_sorted(ranges.begin(), ranges.end(), is_before))
        std::sort(ranges.begin(), ranges.end(), is_before);
    size_t last = 0;
    for (size_t i = 1; i < ranges.size(); ++i) {
        if (ranges[i].begin <= ranges[last].end) {
            ranges[last].end = std::max(ranges[last].end, ranges[i].end);
        } else {
            ranges[++last] = ranges[i];
        }
    }
    if (!ranges.empty()) ranges.resize(last + 1);
}

// Candidate begin + j is bit 31 - j; those past the last are 0.
uint32_t BlockFilter::word(const uint8_t* bits, int64_t begin) const {
    const int64_t left = (size_ - begin + 7) / 8;
    uint8_t bytes[4] = {};
    if (left > 0) std::memcpy(bytes, bits + begin / 8, static_cast<size_t>(std::min<int64_t>(left, 4)));
    return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 | bytes[3];
}

void BlockFilter::masks(const QueryPanels& panels, int64_t p, int64_t begin, int64_t count,
                        uint32_t* allowed) const {
    for (int64_t at = 0; at < count; at += kBits) allow_block(panels, p, begin + at, allowed + at);
    if (!ranges_.empty()) clear_ranges(panels, p, begin, count, allowed);
}

void BlockFilter::allow_block(const QueryPanels& panels, int64_t p, int64_t begin, uint32_t* allowed) const {
    uint32_t shared = ~uint32_t{0};
    if (filter_.held) shared &= word(filter_.held, begin);
    if (filter_.allow && filter_.allow_stride == 0) shared &= word(filter_.allow, begin);
    if (filter_.allow && filter_.allow_stride != 0) {
        uint32_t rows[kBits] = {};
        for (int64_t lane = 0; lane < panels.members(p); ++lane) {
            const uint8_t* bits = filter_.allow + (first_ + panels.query(p, lane)) * filter_.allow_stride;
            rows[kBits - 1 - lane] = word(bits, begin) & shared;
        }
        transpose(rows);
        std::copy_n(rows, kBits, allowed);
        return;
    }
    for (int i = 0; i < kBits; ++i) allowed[i] = (shared >> (kBits - 1 - i)) & 1 ? ~uint32_t{0} : 0;
}

void BlockFilter::clear_ranges(const QueryPanels& panels, int64_t p, int64_t begin, int64_t count,
                               uint32_t* allowed) const {
    for (int64_t lane = 0; lane < panels.members(p); ++lane) {
        const std::vector<Range>& ranges = ranges_[static_cast<size_t>(panels.query(p, lane))];
        auto range = std::upper_bound(ranges.begin(), ranges.end(), begin,
                                      [](int64_t id, const Range& range) { return id < range.end; });
        for (; range != ranges.end() && range->begin < begin + count; ++range) {
            const int64_t from = std::max(range->begin - begin, int64_t{0});
            const int64_t to = std::min(range->end - begin, count);
            for (int64_t i = from; i < to; ++i) allowed[i] &= ~(uint32_t{1} << lane);
        }
    }
}

}  // namespace lvm

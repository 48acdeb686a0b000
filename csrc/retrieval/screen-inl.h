// The scoring kernels of one instruction set: candidates decided by integer products and their error bounds.
// Included by screen_dot-inl.h and screen_<level>-inl.h, after their Ints and their Product.
//
// A Product multiplies a block of 32 candidates with a panel of 32 queries, out: [32 candidates][32 queries]:
//   template <bool kAdd, class Between>
//   void multiply(rows, row_sums, panel, chunks, out, between)
// and calls between(i) for i = 0 .. steps(chunks) - 1 along the way: work for the units it leaves idle.
// few_open: how many open pairs of a block cost about as much one by one as its fine products do.

#pragma once

#include "retrieval/bracket-inl.h"
#include "retrieval/pair-inl.h"
#include "retrieval/rows-inl.h"
#include "retrieval/screen.h"

namespace lvm::LVM_LEVEL::retrieval {
namespace {

constexpr int V = kPanelQueries / W;  // vectors of one candidate's scores
constexpr int64_t kScores = kBlockRows * kPanelQueries;

// Up to kBlockRows candidates and their integer products with the panel.
struct Block {
    const CodeBounds* bounds;
    int64_t count = 0, opened = 0;
    int64_t before = 0;  // candidates of the same group
    const int32_t* coarse = nullptr;
    const uint32_t* allowed = nullptr;  // the queries that may find each; null: all
    uint32_t open[kBlockRows];          // one bit a query: undecided
};

// Decides blocks of pairs, first by their coarse products.
class Judge {
  public:
    explicit Judge(const ScreenTask& task) : task_(task), panel_(*task.panel) {
        for (int v = 0; v < V; ++v) {
            low_[v] = load(task.low + v * W);
            high_[v] = load(task.high + v * W);
        }
    }

    void coarse(Block& block, int64_t from, int64_t to) {
        if (task_.offsets) {
            block.allowed ? coarse_rows<true, true>(block, from, to)
                          : coarse_rows<false, true>(block, from, to);
        } else {
            block.allowed ? coarse_rows<true, false>(block, from, to)
                          : coarse_rows<false, false>(block, from, to);
        }
    }

    // Decides candidates from `first` by the products of their prefixes; masks[i] gets the queries that are
    // left, of which it returns the number.
    int64_t prefix(int64_t first, int64_t count, const int32_t* products, uint32_t* masks) {
        return task_.offsets ? prefix_rows<true>(first, count, products, masks)
                             : prefix_rows<false>(first, count, products, masks);
    }

    // Decides pair by pair, by coarse and then fine products, what the prefixes left open.
    void decide_pairs(int64_t first, int64_t count, const uint32_t* masks) {
        for (int64_t candidate = first; candidate < first + count; ++candidate) {
            const CodeBounds& row = task_.bounds[candidate];
            const int8_t* codes = task_.coarse + code_offset(candidate, task_.chunks);
            for (uint32_t bits = masks[candidate - first]; bits; bits &= bits - 1) {
                const int32_t lane = __builtin_ctz(bits);
                const int32_t product = coarse_pair_product(
                    panel_.coarse_row[lane], codes, static_cast<int32_t>(row.coarse_sum), task_.chunks);
                const auto [lower, upper] = coarse_bracket(panel_, row, product, offset_of(candidate), lane);
                if (lower > task_.high[lane]) {
                    ++fine_above_[lane];
                } else if (!(upper < task_.low[lane])) {
                    refine_pair(candidate, lane, product);
                }
            }
        }
    }

    // Decides again by their fine products, pair by pair, what the coarse ones left open; takes down the
    // rest.
    void refine_pairs(const Block& block) {
        if (block.opened == 0) return;
        for (int64_t i = 0; i < block.count; ++i) {
            for (uint32_t bits = block.open[i]; bits; bits &= bits - 1) {
                const int32_t lane = __builtin_ctz(bits);
                refine_pair(block.bounds - task_.bounds + i, lane, block.coarse[i * kPanelQueries + lane]);
            }
        }
    }

    // The same with all fine products of the block at hand.
    void refine_block(const Block& block, const int32_t* fine_products) {
        for (int64_t i = 0; i < block.count; ++i) {
            if (block.open[i] == 0) continue;
            const int64_t candidate = block.bounds - task_.bounds + i;
            alignas(64) float lower[kPanelQueries], upper[kPanelQueries];
            uint64_t over = 0, kept = 0;
            for (int v = 0; v < V; ++v) {
                const auto bracket =
                    fine_bracket(panel_, block.bounds[i], block.coarse + i * kPanelQueries,
                                 fine_products + i * kPanelQueries, offset_of(candidate), v * W);
                store(lower + v * W, bracket.lower);
                store(upper + v * W, bracket.upper);
                over |= greater(bracket.lower, high_[v]) << (v * W);
                kept |= not_less(bracket.upper, low_[v]) << (v * W);
            }
            uint32_t sure = block.open[i] & static_cast<uint32_t>(over);
            for (; sure; sure &= sure - 1) ++fine_above_[__builtin_ctz(sure)];
            uint32_t rest = block.open[i] & static_cast<uint32_t>(kept & ~over);
            for (; rest; rest &= rest - 1) {
                const int32_t lane = __builtin_ctz(rest);
                note(candidate, lane, lower[lane], upper[lane]);
            }
        }
    }

    // Writes the counts of what is above; returns how many pairs stay open.
    int64_t finish() const {
        alignas(64) int32_t above[kPanelQueries];
        for (int v = 0; v < V; ++v) store(above + v * W, above_[v]);
        for (int j = 0; j < kPanelQueries; ++j) task_.above[j] = above[j] + fine_above_[j];
        return opened_;
    }

  private:
    float offset_of(int64_t candidate) const { return task_.offsets ? task_.offsets[candidate] : 0; }

    void refine_pair(int64_t candidate, int32_t lane, int32_t coarse_product) {
        const CodeBounds& row = task_.bounds[candidate];
        const int64_t at = code_offset(candidate, task_.chunks);
        const int32_t sums = static_cast<int32_t>(row.coarse_sum) + static_cast<int32_t>(row.fine_sum);
        const int32_t products = pair_product({panel_.coarse_row[lane], panel_.fine_row[lane]},
                                              {task_.coarse + at, task_.fine + at}, sums, task_.chunks);
        const auto [lower, upper] =
            fine_bracket(panel_, row, coarse_product, products, offset_of(candidate), lane);
        if (lower > task_.high[lane]) {
            ++fine_above_[lane];
        } else if (!(upper < task_.low[lane])) {
            note(candidate, lane, lower, upper);
        }
    }

    template <bool kOffset>
    int64_t prefix_rows(int64_t first, int64_t count, const int32_t* products, uint32_t* masks) {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        const PrefixTask& prefix = *task_.prefix;
        int64_t left = 0;
        for (int64_t i = 0; i < count; ++i) {
            const uint32_t asking = task_.allowed ? task_.allowed[first + i] & task_.members : task_.members;
            const float taken = kOffset ? offset_of(first + i) : 0;
            uint64_t over = 0, kept = 0;
            for (int v = 0; v < V; ++v) {
                const auto [lower, upper] = coarse_bracket<kOffset, true>(
                    *prefix.panel, prefix.bounds[first + i], products + i * kPanelQueries, taken, v * W);
                const Vec high = where_bits(asking >> (v * W), load(prefix.high + v * W), set1(kInfinity));
                count_greater(above_[v], lower, high);
                over |= greater(lower, high) << (v * W);
                kept |= not_less(upper, load(prefix.low + v * W)) << (v * W);
            }
            masks[i] = static_cast<uint32_t>(kept & ~over) & asking;
            if (masks[i] == 0) continue;
            left += __builtin_popcount(masks[i]);
            fetch(task_.coarse, first + i);
        }
        return left;
    }

    template <bool kFiltered, bool kOffset>
    void coarse_rows(Block& block, int64_t from, int64_t to) {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        for (int64_t i = from; i < to; ++i) {
            const uint32_t asking = kFiltered ? block.allowed[i] & task_.members : task_.members;
            block.open[i] = 0;
            if (kFiltered && asking == 0) continue;
            const float taken = kOffset ? offset_of(block.bounds - task_.bounds + i) : 0;
            uint64_t over = 0, kept = 0;
            for (int v = 0; v < V; ++v) {
                const auto [lower, upper] = coarse_bracket<kOffset>(
                    panel_, block.bounds[i], block.coarse + i * kPanelQueries, taken, v * W);
                const Vec high =
                    kFiltered ? where_bits(asking >> (v * W), high_[v], set1(kInfinity)) : high_[v];
                count_greater(above_[v], lower, high);
                over |= greater(lower, high) << (v * W);
                kept |= not_less(upper, low_[v]) << (v * W);
            }
            block.open[i] = static_cast<uint32_t>(kept & ~over) & asking;
            if (block.open[i] == 0) continue;
            block.opened += __builtin_popcount(block.open[i]);
            fetch(task_.fine, block.bounds - task_.bounds + i);
        }
    }

    // The codes of a candidate lie in far memory: they come while the next products are made.
    void fetch(const int8_t* plane, int64_t candidate) const {
        const int8_t* codes = plane + code_offset(candidate, task_.chunks);
        for (int64_t c = 0; c < task_.chunks; ++c) __builtin_prefetch(codes + c * kTileBytes);
    }

    void note(int64_t candidate, int32_t lane, float lower, float upper) {
        task_.open[opened_++] = {static_cast<int32_t>(candidate), lane, lower, upper};
    }

    const ScreenTask& task_;
    const QueryPanel& panel_;
    Vec low_[V], high_[V];
    Count above_[V];
    int32_t fine_above_[kPanelQueries] = {};
    int64_t opened_ = 0;
};

Screened screen(const ScreenTask& task) {
    alignas(64) int32_t coarse[2][kScores], fine[kScores];
    const QueryPanel& panel = *task.panel;
    const int64_t chunks = task.chunks, steps = Product::steps(chunks);
    const Product product;
    Judge judge(task);
    Block block{};  // the one before that which is being multiplied
    const uint32_t* allowed = task.allowed;
    int64_t refined = 0;

    const auto judge_part = [&](int64_t step) {
        judge.coarse(block, block.count * step / steps, block.count * (step + 1) / steps);
    };
    const auto nothing = [](int64_t) {};
    const auto finish = [&] {
        refined += block.opened;
        if (block.opened <= Product::few_open) return judge.refine_pairs(block);
        const int64_t offset = (block.bounds - task.bounds) * chunks * kTileDims;
        product.template multiply<false>(task.fine + offset, &block.bounds->fine_sum, panel.coarse, chunks,
                                         fine, nothing);
        product.template multiply<true>(task.coarse + offset, &block.bounds->coarse_sum, panel.fine, chunks,
                                        fine, nothing);
        judge.refine_block(block, fine);
    };

    const auto turn_to = [&](int64_t first, const int32_t* products) {
        block.bounds = task.bounds + first;
        block.count = task.count - first < kBlockRows ? task.count - first : kBlockRows;
        block.opened = 0;
        block.coarse = products;
        block.allowed = allowed ? allowed + first : nullptr;
    };
    const auto asking = [&](int64_t first) {  // pairs of a block
        if (!allowed) return kScores;
        int64_t pairs = 0;
        for (int64_t i = first; i < first + kBlockRows && i < task.count; ++i)
            pairs += __builtin_popcount(allowed[i] & task.members);
        return pairs;
    };

    if (task.products) {
        for (int64_t first = 0; first < task.count; first += kBlockRows) {
            turn_to(first, task.products + first * kPanelQueries);
            judge.coarse(block, 0, block.count);
            finish();
        }
        return {judge.finish(), refined, 0};
    }
    uint32_t masks[kMostScreened];
    int64_t left = 0;
    if (task.prefix) {
        const PrefixTask& prefix = *task.prefix;
        for (int64_t first = 0; first < task.count; first += kBlockRows) {
            const int64_t count = task.count - first < kBlockRows ? task.count - first : kBlockRows;
            product.template multiply<false>(prefix.codes + first * prefix.chunks * kTileDims,
                                             &prefix.bounds[first].coarse_sum, prefix.panel->coarse,
                                             prefix.chunks, fine, nothing);
            left += judge.prefix(first, count, fine, masks + first);
        }
        allowed = masks;
    }
    for (int64_t first = 0, turn = 0; first < task.count; first += kBlockRows) {
        const int64_t pairs = asking(first);
        if (pairs == 0) continue;
        if (task.prefix && pairs <= Product::few_open) {
            const int64_t count = task.count - first < kBlockRows ? task.count - first : kBlockRows;
            judge.decide_pairs(first, count, masks + first);
            refined += pairs;
            continue;
        }
        const CodeBounds* bounds = task.bounds + first;
        product.template multiply<false>(task.coarse + first * chunks * kTileDims, &bounds->coarse_sum,
                                         panel.coarse, chunks, coarse[turn], judge_part);
        finish();
        turn_to(first, coarse[turn]);
        turn ^= 1;
    }
    judge.coarse(block, 0, block.count);
    finish();
    return {judge.finish(), refined, left};
}

// The best lower bound of each query in a group of blocks.
class Peaks {
  public:
    explicit Peaks(const PeakTask& task) : task_(task) { begin_group(); }

    void take(const Block& block, int64_t from, int64_t to) {
        task_.offsets ? take_rows<true>(block, from, to) : take_rows<false>(block, from, to);
    }

    void end_group(int64_t group) {
        for (int v = 0; v < V; ++v) {
            store(task_.lower + group * kPanelQueries + v * W, lower_[v]);
            store(task_.place + group * kPanelQueries + v * W, place_[v]);
        }
        begin_group();
    }

  private:
    template <bool kOffset>
    void take_rows(const Block& block, int64_t from, int64_t to) {
        for (int64_t i = from; i < to; ++i) {
            const Vec place = set1(static_cast<float>(block.before + i));
            const float taken = kOffset ? task_.offsets[block.bounds - task_.bounds + i] : 0;
            for (int v = 0; v < V; ++v) {
                const auto [lower, upper] = coarse_bracket<kOffset>(
                    *task_.panel, block.bounds[i], block.coarse + i * kPanelQueries, taken, v * W);
                const Vec high = load(task_.high + v * W);
                const Vec low = load(task_.low + v * W);
                const Vec lowest = where_greater(high, upper, lower, low);
                const Vec fit = task_.allowed ? where_bits(block.allowed[i] >> (v * W), lowest, low) : lowest;
                place_[v] = where_greater(fit, lower_[v], place, place_[v]);
                lower_[v] = max(fit, lower_[v]);
            }
        }
    }

    void begin_group() {
        for (int v = 0; v < V; ++v) {
            lower_[v] = load(task_.low + v * W);
            place_[v] = set1(-1);
        }
    }

    const PeakTask& task_;
    Vec lower_[V], place_[V];
};

void peaks(const PeakTask& task) {
    alignas(64) int32_t coarse[2][kScores];
    const int64_t steps = Product::steps(task.chunks), blocks = task.groups * task.group_blocks;
    const Product product;
    Peaks peaks(task);
    Block block{};  // the one before that which is being multiplied
    for (int64_t b = 0; b <= blocks; ++b) {
        const int64_t first = b * task.stride * kBlockRows;
        const CodeBounds* bounds = task.bounds + first;
        int32_t* products = task.products ? task.products + b * kScores : coarse[b % 2];
        if (b < blocks) {
            product.template multiply<false>(
                task.coarse + first * task.chunks * kTileDims, &bounds->coarse_sum, task.panel->coarse,
                task.chunks, products, [&](int64_t step) {
                    peaks.take(block, block.count * step / steps, block.count * (step + 1) / steps);
                });
        } else {
            peaks.take(block, 0, block.count);
        }
        if (b > 0 && b % task.group_blocks == 0) peaks.end_group(b / task.group_blocks - 1);
        block.bounds = bounds;
        block.coarse = products;
        block.allowed = task.allowed ? task.allowed + b * kBlockRows : nullptr;
        block.count = task.count - first < kBlockRows ? task.count - first : kBlockRows;
        block.before = b % task.group_blocks * kBlockRows;
    }
}

}  // namespace
}  // namespace lvm::LVM_LEVEL::retrieval

template <>
const lvm::ScreenKernels& lvm::ScreenKernels::table<lvm::Level::LVM_LEVEL>() {
    namespace level = LVM_LEVEL::retrieval;
    static constexpr ScreenKernels kernels{
        level::screen,           level::peaks, level::encode, level::dot,
        level::squared_distance, level::widen, level::scale,  level::sum_exp};
    return kernels;
}

// The scoring kernels of one instruction set: candidates decided by integer products and their error bounds.
// Included by screen_dot-inl.h and screen_<level>-inl.h, after their Ints and their Product.
//
// A Product multiplies a block of 32 candidates with a panel of 32 queries, out: [32 candidates][32 queries]:
//   template <bool kAdd, class Between>
//   void multiply(rows, row_sums, panel, chunks, out, between)
// and calls between(i) for i = 0 .. steps(chunks) - 1 along the way: work for the units it leaves idle.
// few_open: how many open pairs of a block cost about as much one by one as its fine products do.

#pragma once

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

// score -+ error of W queries, or of one.
template <class T>
struct Bracket {
    T lower, upper;
};

// What an offset adds to the error: the roundings of the float32 arithmetic, each 2^-24 of it.
constexpr float kOffsetSlack = 0x1p-20f;

// |score - coarse score| <= norm_error * ||c|| + rest_share * coarse_rest, by Cauchy-Schwarz. Scores beyond
// float32 give NaN, which decides nothing.
template <bool kOffset>
inline Bracket<Vec> coarse_bracket(const QueryPanel& panel, const CodeBounds& row, const int32_t* products,
                                   float offset, int64_t lane) {
    Vec score = mul(load(products + lane), set1(row.scale));
    Vec error = mul(load(panel.rest_share + lane), set1(row.coarse_rest));
    error = fma(load(panel.norm_error + lane), set1(row.norm), error);
    if constexpr (kOffset) {
        const Vec taken = mul(load(panel.inverse_unit + lane), set1(offset));
        score = sub(score, taken);
        error = fma(taken, set1(kOffsetSlack), error);
    }
    return {sub(score, error), add(score, error)};
}

// The same with the fine products added; what they leave out is bounded by the fine rests.
inline Bracket<Vec> fine_bracket(const QueryPanel& panel, const CodeBounds& row, const int32_t* products,
                                 const int32_t* fine_products, float offset, int64_t lane) {
    const Vec steps = fma(load(products + lane), set1(kFineSteps), load(fine_products + lane));
    const Vec taken = mul(load(panel.inverse_unit + lane), set1(offset));
    const Vec score = sub(mul(steps, set1(row.scale / kFineSteps)), taken);
    Vec error = mul(load(panel.norm_error2 + lane), set1(row.norm));
    error = fma(load(panel.rest_share2 + lane), set1(row.fine_rest), error);
    error = fma(load(panel.cross_share + lane), set1(row.coarse_rest), error);
    error = fma(taken, set1(kOffsetSlack), error);
    return {sub(score, error), add(score, error)};
}

inline Bracket<float> fine_bracket(const QueryPanel& panel, const CodeBounds& row, int32_t product,
                                   int32_t fine_product, float offset, int64_t lane) {
    const float steps = static_cast<float>(product) * kFineSteps + static_cast<float>(fine_product);
    const float taken = panel.inverse_unit[lane] * offset;
    const float score = steps * (row.scale / kFineSteps) - taken;
    const float error = panel.norm_error2[lane] * row.norm + panel.rest_share2[lane] * row.fine_rest +
                        panel.cross_share[lane] * row.coarse_rest + taken * kOffsetSlack;
    return {score - error, score + error};
}

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
    // Decides again by their fine products, pair by pair, what the coarse ones left open; takes down the
    // rest.
    void refine_pairs(const Block& block) {
        if (block.opened == 0) return;
        const int64_t offset = code_offset(block.bounds - task_.bounds, task_.chunks);
        for (int64_t i = 0; i < block.count; ++i) {
            if (block.open[i] == 0) continue;
            const CodeBounds& row = block.bounds[i];
            const int64_t at = offset + code_offset(i, task_.chunks);
            const PairCodes codes{task_.coarse + at, task_.fine + at};
            const int32_t sums = static_cast<int32_t>(row.coarse_sum) + static_cast<int32_t>(row.fine_sum);
            for (uint32_t bits = block.open[i]; bits; bits &= bits - 1) {
                const int32_t lane = __builtin_ctz(bits);
                const int32_t products =
                    pair_product({panel_.coarse_row[lane], panel_.fine_row[lane]}, codes, sums, task_.chunks);
                const auto [lower, upper] = fine_bracket(panel_, row, block.coarse[i * kPanelQueries + lane],
                                                         products, offset_of(block, i), lane);
                if (lower > task_.high[lane]) {
                    ++fine_above_[lane];
                } else if (!(upper < task_.low[lane])) {
                    note(block, i, lane, lower, upper);
                }
            }
        }
    }

    // The same with all fine products of the block at hand.
    void refine_block(const Block& block, const int32_t* fine_products) {
        for (int64_t i = 0; i < block.count; ++i) {
            if (block.open[i] == 0) continue;
            alignas(64) float lower[kPanelQueries], upper[kPanelQueries];
            uint64_t over = 0, kept = 0;
            for (int v = 0; v < V; ++v) {
                const auto bracket =
                    fine_bracket(panel_, block.bounds[i], block.coarse + i * kPanelQueries,
                                 fine_products + i * kPanelQueries, offset_of(block, i), v * W);
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
                note(block, i, lane, lower[lane], upper[lane]);
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
    float offset_of(const Block& block, int64_t i) const {
        return task_.offsets ? task_.offsets[block.bounds - task_.bounds + i] : 0;
    }

    template <bool kFiltered, bool kOffset>
    void coarse_rows(Block& block, int64_t from, int64_t to) {
        constexpr float kInfinity = std::numeric_limits<float>::infinity();
        for (int64_t i = from; i < to; ++i) {
            const uint32_t asking = kFiltered ? block.allowed[i] & task_.members : task_.members;
            block.open[i] = 0;
            if (kFiltered && asking == 0) continue;
            const float taken = kOffset ? offset_of(block, i) : 0;
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
            fetch_fine(block.bounds - task_.bounds + i);
        }
    }

    // The fine codes of a candidate lie in far memory: they come while the next products are made.
    void fetch_fine(int64_t candidate) const {
        const int8_t* codes = task_.fine + code_offset(candidate, task_.chunks);
        for (int64_t c = 0; c < task_.chunks; ++c) __builtin_prefetch(codes + c * kTileBytes);
    }

    void note(const Block& block, int64_t i, int32_t lane, float lower, float upper) {
        const int32_t candidate = static_cast<int32_t>(block.bounds - task_.bounds + i);
        task_.open[opened_++] = {candidate, lane, lower, upper};
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
    int64_t refined = 0;

    const auto judge_part = [&](int64_t step) {
        judge.coarse(block, block.count * step / steps, block.count * (step + 1) / steps);
    };
    const auto finish = [&] {
        refined += block.opened;
        if (block.opened <= Product::few_open) return judge.refine_pairs(block);
        const int64_t offset = (block.bounds - task.bounds) * chunks * kTileDims;
        const auto nothing = [](int64_t) {};
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
        block.allowed = task.allowed ? task.allowed + first : nullptr;
    };
    const auto is_asked = [&](int64_t first) {
        if (!task.allowed) return true;
        uint32_t asking = 0;
        for (int64_t i = first; i < first + kBlockRows && i < task.count; ++i) asking |= task.allowed[i];
        return (asking & task.members) != 0;
    };

    if (task.products) {
        for (int64_t first = 0; first < task.count; first += kBlockRows) {
            turn_to(first, task.products + first * kPanelQueries);
            judge.coarse(block, 0, block.count);
            finish();
        }
        return {judge.finish(), refined};
    }
    for (int64_t first = 0, turn = 0; first < task.count; first += kBlockRows) {
        if (!is_asked(first)) continue;
        const CodeBounds* bounds = task.bounds + first;
        product.template multiply<false>(task.coarse + first * chunks * kTileDims, &bounds->coarse_sum,
                                         panel.coarse, chunks, coarse[turn], judge_part);
        finish();
        turn_to(first, coarse[turn]);
        turn ^= 1;
    }
    judge.coarse(block, 0, block.count);
    finish();
    return {judge.finish(), refined};
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

// What each instruction set provides to the scoring engine: integer products that decide what they safely
// can, the codes they read, and the one exact score.
#pragma once

#include <cstdint>

#include "core/views.h"
#include "retrieval/codes.h"
#include "runtime/level.h"

namespace lvm {

constexpr int kPanelQueries = 32;
constexpr int64_t kBlockRows = 32;  // candidates that one product takes; banks are padded to it
constexpr int64_t kMostScreened = 512;

// Fewer where vectors are so long that so many would keep a thread busy for long.
[[gnu::always_inline]] inline int64_t screened_at_once(int64_t chunks) {
    constexpr int64_t kLongChunks = 128;
    return chunks <= kLongChunks ? kMostScreened : kBlockRows;
}

// One panel of queries as the products read it. Codes: two halves of 16 queries, [dimension / 4][16][4].
// Scores are counted in units of the query's scale; bounds as in CodeBounds.
struct QueryPanel {
    const int8_t* coarse;
    const int8_t* fine;
    const int8_t* coarse_row[kPanelQueries];  // the same codes query by query, as code_offset tells
    const int8_t* fine_row[kPanelQueries];
    alignas(64) float norm_error[kPanelQueries];  // times a candidate's norm ...
    alignas(64) float rest_share[kPanelQueries];  // ... plus this times its coarse_rest bounds a coarse score
    alignas(64) float norm_error2[kPanelQueries];   // the same for a fine score: norm,
    alignas(64) float rest_share2[kPanelQueries];   // fine_rest
    alignas(64) float cross_share[kPanelQueries];   // and coarse_rest
    alignas(64) float inverse_unit[kPanelQueries];  // 1 / the query's scale
    alignas(64) float tail_share[kPanelQueries];    // of prefixes: times a candidate's tail
};

// A pair that its bracket does not decide, in units of the query's scale: lower <= score <= upper.
struct OpenPair {
    int32_t candidate;  // of the task
    int32_t lane;       // of the panel
    float lower, upper;
};

// The prefixes of a panel and of the candidates (see packed_bank.h), which are looked at first.
struct PrefixTask {
    const QueryPanel* panel;
    int64_t chunks;
    const int8_t* codes;
    const CodeBounds* bounds;  // fine_rest is the tail
    const float* low;          // [32] as in ScreenTask, in units of the prefix's scale
    const float* high;
};

// A panel against up to kMostScreened candidates.
struct ScreenTask {
    const QueryPanel* panel;
    int64_t chunks;
    const int8_t* coarse;  // the candidates' codes, beginning at a multiple of kBlockRows
    const int8_t* fine;
    const CodeBounds* bounds;
    const float* offsets;  // [count] taken from the products of each candidate; null: nothing
    int64_t count;
    uint32_t members;          // one bit a query that is there
    const uint32_t* allowed;   // [count] the queries that may find a candidate, one bit each; null: all
    const float* low;          // [32] what cannot reach this is decided: no
    const float* high;         // [32] what certainly exceeds this is decided: yes
    int32_t* above;            // [32] gets how many candidates certainly exceed high
    OpenPair* open;            // [count * 32] gets the undecided pairs
    const int32_t* products;   // [count][32] the coarse products, where they are known; else null
    const PrefixTask* prefix;  // null: no prefixes, as always where products are known
};

struct Screened {
    int64_t open;     // how many pairs are undecided
    int64_t refined;  // how many the coarse products left undecided
    int64_t left;     // how many the prefixes left undecided
};

// A panel against every stride-th block of candidates: which one of each group of blocks promises most.
struct PeakTask {
    const QueryPanel* panel;
    int64_t chunks;
    const int8_t* coarse;  // the candidates' codes, beginning at a multiple of kBlockRows
    const CodeBounds* bounds;
    const float* offsets;  // as in ScreenTask
    int64_t count;         // candidates, those of the blocks between included
    int64_t stride;
    int64_t groups, group_blocks;  // and how many blocks make a group
    const float* low;              // [32] only candidates that certainly score more than low ...
    const float* high;             // [32] ... and less than high are considered
    float* lower;  // [groups][32] gets the highest lower bound of a score; low where there is no candidate
    float* place;  // [groups][32] gets that candidate, counted among those of its group; -1
    const uint32_t* allowed;  // [groups * group_blocks * kBlockRows] as in ScreenTask; or null
    int32_t* products;        // [groups * group_blocks * kBlockRows][32] gets the coarse products; or null
};

// Where a row's codes go, as code_offset tells.
struct CodePlace {
    int8_t *coarse, *fine;  // from a cache line on
    bool past_caches;       // planes too large for the caches need not pass through them
};

struct ScreenKernels {
    static constexpr bool has(Level level) { return level != Level::avx512bf16; }
    template <Level>
    static const ScreenKernels& table();

    Screened (*screen)(const ScreenTask& task);

    void (*peaks)(const PeakTask& task);

    // Codes and bounds of a row of float32, padded with zeros to whole chunks. Past the caches: store_fence()
    // is left to the caller.
    CodeBounds (*encode)(const float* row, int64_t chunks, const CodePlace& place);

    // THE score: float64, in one order of summation. Partial sum j (of 32) takes elements j, j + 32, j + 64,
    // ... in turn; then the upper half of the partial sums is added to the lower half until one is left. A
    // product of two float32 is exact in float64, so fused and separate multiply-adds agree.
    double (*dot)(const float* a, const float* b, int64_t dim);

    // THE squared distance: the same sum of the squares of the differences, each difference, square and sum
    // rounded to float64.
    double (*squared_distance)(const float* a, const float* b, int64_t dim);

    // Row i as float32: widened, or int8 * scale rounded to float32.
    void (*widen)(const Rows& rows, int64_t i, float* out);

    // x * factor in float64, rounded to float32, in place.
    void (*scale)(float* x, int64_t dim, double factor);

    // The sum of exp(factor * (x[i] - top)); not finite where an x[i] is not.
    double (*sum_exp)(const float* x, int64_t count, float factor, float top);
};

template <>
const ScreenKernels& ScreenKernels::table<Level::scalar>();
template <>
const ScreenKernels& ScreenKernels::table<Level::neon>();
template <>
const ScreenKernels& ScreenKernels::table<Level::i8mm>();
template <>
const ScreenKernels& ScreenKernels::table<Level::avx2>();
template <>
const ScreenKernels& ScreenKernels::table<Level::avxvnni>();
template <>
const ScreenKernels& ScreenKernels::table<Level::avx512>();
template <>
const ScreenKernels& ScreenKernels::table<Level::amx>();

inline const ScreenKernels& screen_kernels() { return kernels_in_force<ScreenKernels>(); }

}  // namespace lvm

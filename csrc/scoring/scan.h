// The one loop under every question to the bank: screen tile by tile, certify, rescore.
//
// An Ending says what it wants to know of the scores of query q of the block, and is told by worker `worker`:
//   Open open(worker, q)              scores in [low, high] must be seen exactly; those above are counted,
//   those below ignored void above(worker, q, count)      `count` more scores are certainly > high void
//   score(worker, q, id, exact)  an exact score that may lie in the open interval
//   bool settled(worker, q)           nothing more can change the answer

#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "scoring/bank.h"
#include "scoring/panels.h"
#include "scoring/screen.h"
#include "simd/thread_pool.h"

namespace lvm {

struct Open {
    double low, high;
};

// Up to this many queries, an exact score of every pair costs less than packing the candidates into panels.
constexpr int64_t kFewQueries = 4;

template <class Ending>
void scan_exactly(const Bank& bank, const QueryBlock& queries, int workers, Ending& ending) {
    constexpr int64_t kRowsPerPiece = 512;
    const ScreenKernels& kernels = screen_kernels();
    const auto piece = [&](int64_t begin, int64_t end, int worker) {
        std::vector<float> buffer(static_cast<size_t>(bank.dim()));
        for (int64_t id = begin; id < end; ++id) {
            const float* row = bank.stored_row(id, buffer.data());
            for (int64_t q = 0; q < queries.count(); ++q) {
                ending.score(worker, q, id, kernels.dot(queries.row(q), row, bank.dim()));
            }
        }
    };
    parallel_for(bank.size(), kRowsPerPiece, piece, workers);
}

// The open interval widened by the screening error and rounded outwards to float32.
struct ScreenBounds {
    static constexpr float kInfinity = std::numeric_limits<float>::infinity();

    ScreenBounds(const Open& open, double error)
        : low(std::nextafter(static_cast<float>(open.low - error), -kInfinity)),
          high(std::nextafter(static_cast<float>(open.high + error), kInfinity)) {}

    float low, high;
};

// What one thread keeps for a whole scan, because fresh memory is slow.
struct TileWorker {
    TileWorker(const Bank& bank, const ScreenKernels& kernels)
        : panel(bank, kernels.candidates),
          row(static_cast<size_t>(bank.dim())),
          low(static_cast<size_t>(kernels.queries)),
          high(low),
          above(low.size()),
          open(low.size()) {}

    CandidatePanel panel;
    std::vector<float> row;
    std::vector<float> low, high;       // of a tile's queries
    std::vector<uint64_t> above, open;  // bits of a tile's candidates
};

template <class Ending>
void scan_panel(const Bank& bank, const QueryBlock& queries, int64_t begin, int64_t count, int worker,
                TileWorker& state, Ending& ending) {
    const ScreenKernels& kernels = screen_kernels();
    const int64_t dim = bank.dim();
    const uint64_t present = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    const double largest = bank.largest_norm(begin, begin + count);
    state.panel.pack(begin, count);
    for (int64_t group = 0; group < queries.groups(); ++group) {
        const int64_t first = group * kernels.queries;
        const int64_t members = std::min<int64_t>(kernels.queries, queries.count() - first);
        bool settled = true;
        for (int64_t j = 0; j < members; ++j) {
            const double error = screen_error(dim, queries.norm(first + j), largest);
            const ScreenBounds bounds(ending.open(worker, first + j), error);
            state.low[j] = bounds.low;
            state.high[j] = bounds.high;
            settled = settled && ending.settled(worker, first + j);
        }
        if (settled) continue;
        kernels.tile(queries.group(group), state.panel.data(), dim, state.low.data(), state.high.data(),
                     state.above.data(), state.open.data());
        for (int64_t j = 0; j < members; ++j) {
            const int64_t q = first + j;
            if (const uint64_t sure = state.above[j] & present) ending.above(worker, q, std::popcount(sure));
            for (uint64_t rest = state.open[j] & present; rest; rest &= rest - 1) {
                const int64_t id = begin + std::countr_zero(rest);
                const float* row = bank.stored_row(id, state.row.data());
                ending.score(worker, q, id, kernels.dot(queries.row(q), row, dim));
            }
        }
    }
}

template <class Ending>
void scan_tiles(const Bank& bank, const QueryBlock& queries, int workers, Ending& ending) {
    const ScreenKernels& kernels = screen_kernels();
    const int64_t width = kernels.candidates;
    std::vector<TileWorker> states(static_cast<size_t>(workers), TileWorker(bank, kernels));
    const auto piece = [&](int64_t first, int64_t last, int worker) {
        for (int64_t p = first; p < last; ++p) {
            const int64_t begin = p * width, count = std::min(width, bank.size() - begin);
            scan_panel(bank, queries, begin, count, worker, states[static_cast<size_t>(worker)], ending);
        }
    };
    parallel_for((bank.size() + width - 1) / width, 64 / width, piece, workers);
}

template <class Ending>
void scan(const Bank& bank, const QueryBlock& queries, int workers, Ending& ending) {
    queries.count() <= kFewQueries ? scan_exactly(bank, queries, workers, ending)
                                   : scan_tiles(bank, queries, workers, ending);
}

}  // namespace lvm

// Sums of exponentials: every score counts, so that none is screened; 64 candidates' float32 scores at a
// time.
#pragma once

#include <algorithm>
#include <vector>

#include "gemm/gemm.h"
#include "retrieval/bank.h"
#include "retrieval/query_block.h"
#include "retrieval/screen.h"
#include "runtime/interrupt.h"
#include "runtime/thread_pool.h"

namespace lvm {

class SumExpPolicy {
  public:
    // best[q]: the highest score of query q, which its sum is relative to.
    SumExpPolicy(const Bank& bank, const QueryBlock& queries, double factor, const double* best,
                 const uint8_t* held)
        : bank_(bank),
          queries_(queries),
          factor_(static_cast<float>(factor)),
          best_(best),
          held_(held),
          workers_(num_threads()),
          partial_(static_cast<size_t>(workers_ * queries.count())) {
        parallel_for(
            bank.size(), kRows, [this](int64_t begin, int64_t end, int worker) { add(begin, end, worker); },
            workers_);
    }

    // sums[q] = sum over the bank of exp(factor * (score - best[q])).
    void write(double* sums) const {
        for (int64_t q = 0; q < queries_.count(); ++q) {
            sums[q] = 0;
            for (int worker = 0; worker < workers_; ++worker) sums[q] += partial_[place(worker, q)];
        }
    }

  private:
    static constexpr int64_t kRows = 64, kQueriesAtOnce = 96;

    size_t place(int worker, int64_t q) const { return static_cast<size_t>(worker * queries_.count() + q); }

    void add(int64_t begin, int64_t end, int worker) {
        const int64_t count = queries_.count(), dim = bank_.dim();
        std::vector<float> rows(static_cast<size_t>(kRows * dim)), scores(static_cast<size_t>(count * kRows));
        for (; begin < end; begin += kRows) {
            int64_t width = 0;
            for (int64_t i = begin; i < std::min(begin + kRows, end); ++i) {
                if (held_ && !(held_[i / 8] >> (7 - i % 8) & 1)) continue;
                float* copy = rows.data() + width++ * dim;
                const float* row = bank_.stored_row(i, copy);
                if (row != copy) std::copy_n(row, dim, copy);
            }
            if (width == 0) continue;
            const auto panels = gemm_panels(rows.data(), dim, width, 1, dim);
            for (int64_t q = 0; q < count; q += kQueriesAtOnce) {
                poll();
                const int64_t members = std::min(kQueriesAtOnce, count - q);
                kernels_in_force<GemmKernels>().product(queries_.row(q), members, dim, panels.data(), width,
                                                        scores.data() + q * kRows, kRows);
            }
            for (int64_t q = 0; q < count; ++q) {
                partial_[place(worker, q)] += screen_kernels().sum_exp(scores.data() + q * kRows, width,
                                                                       factor_, static_cast<float>(best_[q]));
            }
        }
    }

    const Bank& bank_;
    const QueryBlock& queries_;
    float factor_;
    const double* best_;
    const uint8_t* held_;
    int workers_;
    std::vector<double> partial_;
};

}  // namespace lvm

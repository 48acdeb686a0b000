// The live rows of sequences (gru_bf16.h), step by step.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gemm/bf16_tiles.h"
#include "recurrent/gru_bf16.h"

namespace lvm::bf16 {

class LiveRows {
  public:
    explicit LiveRows(const RecurrentShape& shape) {
        for (int64_t t = 0; t < shape.steps; ++t) {
            first_.push_back(first_.back() + shape.active(t, 0, shape.batch));
        }
    }

    int64_t count() const { return first_.back(); }
    int64_t first(int64_t step) const { return first_[static_cast<size_t>(step)]; }

    // Calls each(row - begin, step, sequence) for rows [begin, end).
    template <class Each>
    void over(int64_t begin, int64_t end, const Each& each) const {
        auto next = std::upper_bound(first_.begin(), first_.end(), begin);
        for (int64_t row = begin; row < end; ++row) {
            while (*next <= row) ++next;
            each(row - begin, next - first_.begin() - 1, row - *(next - 1));
        }
    }

    // Addresses of the vectors of rows [begin, end).
    std::vector<const void*> addresses(const StepVectors& vectors, int64_t begin, int64_t end) const {
        std::vector<const void*> rows(static_cast<size_t>(end - begin));
        over(begin, end, [&](int64_t i, int64_t step, int64_t sequence) {
            rows[static_cast<size_t>(i)] = vectors.at(step, sequence);
        });
        return rows;
    }

  private:
    std::vector<int64_t> first_{0};
};

inline RowList list_of(const std::vector<const void*>& rows, bool is_bf16) {
    return {rows.data(), static_cast<int64_t>(rows.size()), is_bf16};
}

}  // namespace lvm::bf16

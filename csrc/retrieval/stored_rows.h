// Stored rows as the float32 numbers that are scored, shared by the bank and its queries.
#pragma once

#include <atomic>
#include <cstring>
#include <string>
#include <vector>

#include "core/views.h"
#include "retrieval/screen.h"

namespace lvm {

// Whether rows lie in memory as they are scored: aligned float32.
inline bool scored_in_place(const Rows& rows, bool normalize) {
    return rows.dtype == DType::float32 && !normalize &&
           reinterpret_cast<uintptr_t>(rows.data) % alignof(float) == 0;
}

// Row i as float32: widened, then multiplied by `factor` in float64 unless that is 1.
void load_row(const Rows& rows, int64_t i, double factor, float* out);

// Encodes rows one after another; several threads each have their own. What it finds wrong it notes.
class RowEncoder {
  public:
    // With `normalize`, rows are divided by their norm first and zero rows are wrong.
    RowEncoder(const Rows& rows, bool normalize);

    // Writes codes and, with `normalize`, 1 / ||row|| to `factor`. `scored`, if not null, gets the row as
    // float32.
    CodeBounds encode(int64_t i, const CodePlace& place, double* factor, float* scored);

    // ||row||^2 of the row encoded last.
    double square() const;

  private:
    friend class FirstBadRow;

    const Rows& rows_;
    bool normalize_;
    const float* last_ = nullptr;
    std::vector<float> row_;  // padded with zeros to whole chunks
    int64_t not_finite_ = INT64_MAX, zero_ = INT64_MAX;
};

// The first wrong row that any encoder saw.
class FirstBadRow {
  public:
    void note(const RowEncoder& encoder);

    // Throws std::invalid_argument, naming `what` and the row, if there was one.
    void raise(const std::string& what) const;

  private:
    std::atomic<int64_t> not_finite_{INT64_MAX}, zero_{INT64_MAX};
};

}  // namespace lvm

// A bank's packed form: what screening reads instead of the stored rows.
#pragma once

#include <vector>

#include "core/alignment.h"
#include "core/big_buffer.h"
#include "core/views.h"
#include "retrieval/screen.h"

namespace lvm {

// What a score is: the inner product, that of unit vectors, or minus the squared distance.
enum class Metric { inner_product, cosine, l2 };

// Planes of codes and bounds of padded_rows(rows) rows (the added ones all zero); factors and offsets of
// `rows`.
struct PackedView {
    const int8_t* coarse = nullptr;
    const int8_t* fine = nullptr;
    const CodeBounds* bounds = nullptr;
    const double* factors = nullptr;  // 1 / ||row||; null unless Metric::cosine
    const float* offsets = nullptr;   // ||row||^2 / 2; null unless Metric::l2
    // Of banks that are asked often, else null: the coarse codes of the rows' first coordinates in other
    // axes, orthogonal to each other, and bounds whose fine_rest is that of the tail, ||row less its
    // prefix||.
    const int8_t* prefix = nullptr;
    const CodeBounds* prefix_bounds = nullptr;
    int64_t prefix_dim = 0;
};

inline int64_t padded_rows(int64_t rows) { return round_up(rows, kBlockRows); }

inline int64_t plane_bytes(int64_t rows, int64_t dim) {
    return padded_rows(rows) * chunks_of(dim) * kTileDims;
}

// Packed rows in memory of their own, which is kept from one packing to the next.
class PackedRows {
  public:
    // Throws std::invalid_argument on a row with NaN or infinity and, by Metric::cosine, on a zero row.
    void pack(const Rows& rows, Metric metric);

    // Adds the prefixes of the packed rows from `first` on, of `total`; see Bank::add_prefixes.
    void pack_prefixes(const Rows& prefixes, const float* tails, int64_t first, int64_t total);

    PackedView view() const;

  private:
    BigBuffer coarse_, fine_, prefix_;
    std::vector<CodeBounds> bounds_, prefix_bounds_;
    int64_t prefix_dim_ = 0;
    std::vector<double> factors_;
    std::vector<float> offsets_;
};

}  // namespace lvm

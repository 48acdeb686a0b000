#include "retrieval/stored_rows.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace lvm {
namespace {

void lower(std::atomic<int64_t>& first, int64_t row) {
    int64_t seen = first.load();
    while (row < seen && !first.compare_exchange_weak(seen, row)) {
    }
}

}  // namespace

void load_row(const Rows& rows, int64_t i, double factor, float* out) {
    screen_kernels().widen(rows, i, out);
    if (factor != 1) screen_kernels().scale(out, rows.dim, factor);
}

RowEncoder::RowEncoder(const Rows& rows, bool normalize)
    : rows_(rows), normalize_(normalize), row_(static_cast<size_t>(chunks_of(rows.dim) * kTileDims)) {}

CodeBounds RowEncoder::encode(int64_t i, const CodePlace& place, double* factor, float* scored) {
    const ScreenKernels& kernels = screen_kernels();
    const int64_t dim = rows_.dim, chunks = chunks_of(dim);
    const auto norm = [&] { return std::sqrt(kernels.dot(row_.data(), row_.data(), dim)); };
    const float* row = row_.data();
    if (scored_in_place(rows_, normalize_) && dim % kTileDims == 0) {
        row = rows_.row<float>(i);
    } else {
        kernels.widen(rows_, i, row_.data());
    }
    if (normalize_) {
        const double length = norm();
        if (!(std::isfinite(length) && length > 0)) {
            int64_t& first = length == 0 ? zero_ : not_finite_;
            first = std::min(first, i);
            return {};
        }
        *factor = 1.0 / length;
        kernels.scale(row_.data(), dim, *factor);
    }
    last_ = row;
    if (scored) std::memcpy(scored, row, static_cast<size_t>(dim) * sizeof(float));
    const CodeBounds bounds = kernels.encode(row, chunks, place);
    if (!std::isfinite(bounds.norm)) {
        std::memmove(row_.data(), row, static_cast<size_t>(dim) * sizeof(float));
        if (!std::isfinite(norm())) not_finite_ = std::min(not_finite_, i);
    }
    return bounds;
}

double RowEncoder::square() const { return screen_kernels().dot(last_, last_, rows_.dim); }

void FirstBadRow::note(const RowEncoder& encoder) {
    lower(not_finite_, encoder.not_finite_);
    lower(zero_, encoder.zero_);
}

void FirstBadRow::raise(const std::string& what) const {
    const int64_t bad = not_finite_.load(), zero = zero_.load();
    if (std::min(bad, zero) == INT64_MAX) return;
    throw std::invalid_argument(what + ": row " + std::to_string(std::min(bad, zero)) +
                                (zero < bad ? " is all zeros; expected a direction, as normalize=True needs"
                                            : " holds NaN or infinity; expected finite numbers"));
}

}  // namespace lvm

// The scoring kernels of one instruction set. Included once per level, inside that level's own namespace
// (LVM_LEVEL), after its Vec and the tile shape LVM_TILE_QUERIES x LVM_TILE_VECTORS. Only screen_kernels has
// external linkage, as in rowwise-inl.h.

#include "scoring/screen.h"

namespace lvm::LVM_LEVEL {
namespace {

constexpr int W = Vec::width;
constexpr int Q = LVM_TILE_QUERIES;
constexpr int V = LVM_TILE_VECTORS;
static_assert(V * W <= 64, "one bit a candidate");

void tile(const float* q, const float* c, int64_t dim, const float* low, const float* high, uint64_t* above,
          uint64_t* open) {
    Vec scores[Q][V];
    for (int j = 0; j < Q; ++j) {
        for (int v = 0; v < V; ++v) scores[j][v] = set1(0);
    }
    for (int64_t d = 0; d < dim; ++d, q += Q, c += V * W) {
        Vec candidates[V];
        for (int v = 0; v < V; ++v) candidates[v] = load(c + v * W);
        for (int j = 0; j < Q; ++j) {
            const Vec query = set1(q[j]);
            for (int v = 0; v < V; ++v) scores[j][v] = fma(query, candidates[v], scores[j][v]);
        }
    }
    for (int j = 0; j < Q; ++j) {
        const Vec least = set1(low[j]), most = set1(high[j]);
        uint64_t over = 0, kept = 0;
        for (int v = 0; v < V; ++v) {
            over |= greater(scores[j][v], most) << (v * W);
            kept |= not_less(scores[j][v], least) << (v * W);
        }
        above[j] = over;
        open[j] = kept & ~over;
    }
}

// 8 lanes at a time through the compiler's vector types: it splits them to fit the instruction set.
typedef double Lanes __attribute__((vector_size(64)));
typedef float NarrowLanes __attribute__((vector_size(32)));
constexpr int kLanes = 8, kPartialSums = 32;

inline void add_products(Lanes& sums, const float* a, const float* b) {
    NarrowLanes x, y;
    std::memcpy(&x, a, sizeof(x));
    std::memcpy(&y, b, sizeof(y));
    sums += __builtin_convertvector(x, Lanes) * __builtin_convertvector(y, Lanes);
}

double dot(const float* a, const float* b, int64_t dim) {
    Lanes sums[kPartialSums / kLanes] = {};
    int64_t i = 0;
    for (; i + kPartialSums <= dim; i += kPartialSums) {
        for (int s = 0; s < kPartialSums / kLanes; ++s)
            add_products(sums[s], a + i + s * kLanes, b + i + s * kLanes);
    }
    double partial[kPartialSums];
    std::memcpy(partial, sums, sizeof(partial));
    for (int j = 0; i < dim; ++i, ++j) partial[j] += static_cast<double>(a[i]) * static_cast<double>(b[i]);
    for (int half = kPartialSums / 2; half > 0; half /= 2) {
        for (int j = 0; j < half; ++j) partial[j] += partial[j + half];
    }
    return partial[0];
}

template <class T>
void widen_row(const T* x, int64_t dim, float* out) {
    int64_t i = 0;
    for (; i + W <= dim; i += W) store(out + i, load(x + i));
    if (i == dim) return;
    T part[W] = {};
    float wide[W];
    std::memcpy(part, x + i, static_cast<size_t>(dim - i) * sizeof(T));
    store(wide, load(part));
    std::memcpy(out + i, wide, static_cast<size_t>(dim - i) * sizeof(float));
}

void widen(const Rows& rows, int64_t i, float* out) {
    switch (rows.dtype) {
        case DType::float16:
            return widen_row(rows.row<Half>(i), rows.dim, out);
        case DType::bfloat16:
            return widen_row(rows.row<BHalf>(i), rows.dim, out);
        case DType::int8: {
            const int8_t* x = rows.row<int8_t>(i);
            const float scale = rows.scales[i];
            for (int64_t d = 0; d < rows.dim; ++d) out[d] = static_cast<float>(x[d]) * scale;
            return;
        }
        default:
            std::memcpy(out, rows.row<float>(i), static_cast<size_t>(rows.dim) * sizeof(float));
    }
}

void scale(float* x, int64_t dim, double factor) {
    for (int64_t d = 0; d < dim; ++d) x[d] = static_cast<float>(static_cast<double>(x[d]) * factor);
}

}  // namespace

const ScreenKernels screen_kernels{Q, V * W, tile, dot, widen, scale};

}  // namespace lvm::LVM_LEVEL

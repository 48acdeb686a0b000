// The GRU kernels of one instruction set. Included once per level, inside that level's own namespace
// (LVM_LEVEL), after its Vec and the tile shape LVM_TILE_ROWS x LVM_TILE_VECTORS. Only gru_kernels has
// external linkage, as in rowwise-inl.h.

#include "recurrent/gru_kernels.h"

namespace lvm::LVM_LEVEL {

#include "simd/math-inl.h"

namespace {

constexpr int W = Vec::width;
constexpr int R = LVM_TILE_ROWS;
constexpr int V = LVM_TILE_VECTORS;

template <int kRows>
void tile(const float* a, int64_t depth, const float* panel, int64_t columns, float* out,
          int64_t out_stride) {
    Vec sums[kRows][V];
    for (int r = 0; r < kRows; ++r) {
        for (int v = 0; v < V; ++v) sums[r][v] = set1(0);
    }
    for (int64_t d = 0; d < depth; ++d, panel += V * W) {
        Vec b[V];
        for (int v = 0; v < V; ++v) b[v] = load(panel + v * W);
        for (int r = 0; r < kRows; ++r) {
            const Vec x = set1(a[r * depth + d]);
            for (int v = 0; v < V; ++v) sums[r][v] = fma(x, b[v], sums[r][v]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        float row[V * W];
        for (int v = 0; v < V; ++v) store(row + v * W, sums[r][v]);
        std::memcpy(out + r * out_stride, row, static_cast<size_t>(columns) * sizeof(float));
    }
}

using Tile = void (*)(const float*, int64_t, const float*, int64_t, float*, int64_t);
constexpr Tile kTiles[] = {nullptr, tile<1>, tile<2>, tile<3>, tile<4>, tile<5>, tile<6>, tile<7>, tile<8>};

void product(const float* a, int64_t rows, int64_t depth, const float* panels, int64_t columns, float* out,
             int64_t out_stride) {
    for (int64_t c = 0; c < columns; c += V * W, panels += depth * V * W) {
        const int64_t width = columns - c < V * W ? columns - c : V * W;
        for (int64_t r = 0; r < rows; r += R) {
            const int64_t members = rows - r < R ? rows - r : R;
            kTiles[members](a + r * depth, depth, panels, width, out + r * out_stride + c, out_stride);
        }
    }
}

// Calls each(i, load, store) over [0, count): whole vectors, then the rest through a padded buffer.
template <class Each>
void over(int64_t count, const Each& each) {
    int64_t i = 0;
    for (; i + W <= count; i += W) {
        each([i](const float* p) { return load(p + i); }, [i](float* p, Vec a) { store(p + i, a); });
    }
    if (i == count) return;
    const size_t bytes = static_cast<size_t>(count - i) * sizeof(float);
    each(
        [i, bytes](const float* p) {
            float part[W] = {};
            std::memcpy(part, p + i, bytes);
            return load(static_cast<const float*>(part));
        },
        [i, bytes](float* p, Vec a) {
            float part[W];
            store(static_cast<float*>(part), a);
            std::memcpy(p + i, part, bytes);
        });
}

void step(const float* x, const float* products, const float* bias, const float* state, int64_t hidden,
          float* gates, float* candidate, float* next) {
    const int64_t update = hidden, fresh = 2 * hidden;  // where z and n begin
    over(hidden, [=](auto get, auto put) {
        const Vec r = sigmoid(add(get(x), add(get(products), get(bias))));
        const Vec z = sigmoid(add(get(x + update), add(get(products + update), get(bias + update))));
        const Vec c = add(get(products + fresh), get(bias + fresh));
        const Vec n = hyperbolic_tangent(fma(r, c, get(x + fresh)));
        put(gates, r);
        put(gates + update, z);
        put(gates + fresh, n);
        put(candidate, c);
        put(next, fma(z, sub(get(state), n), n));
    });
}

void step_backward(const float* grad, const float* gates, const float* candidate, const float* state,
                   int64_t hidden, float* grad_x, float* grad_products, float* carry) {
    const int64_t update = hidden, fresh = 2 * hidden;
    const Vec one = set1(1);
    over(hidden, [=](auto get, auto put) {
        const Vec g = get(grad), r = get(gates), z = get(gates + update), n = get(gates + fresh);
        const Vec dn = mul(mul(g, sub(one, z)), sub(one, mul(n, n)));
        const Vec dz = mul(mul(g, sub(get(state), n)), mul(z, sub(one, z)));
        const Vec dr = mul(mul(dn, get(candidate)), mul(r, sub(one, r)));
        put(grad_x, dr);
        put(grad_x + update, dz);
        put(grad_x + fresh, dn);
        put(grad_products, dr);
        put(grad_products + update, dz);
        put(grad_products + fresh, mul(dn, r));
        put(carry, mul(g, z));
    });
}

}  // namespace

const GruKernels gru_kernels{V * W, product, step, step_backward};

}  // namespace lvm::LVM_LEVEL

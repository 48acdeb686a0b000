#include "recurrent/gru_half.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <vector>

#include "gemm/half_tiles.h"
#include "recurrent/gru_half_kernels.h"
#include "recurrent/stages.h"
#include "simd/big_buffer.h"
#include "simd/half.h"
#include "simd/level.h"
#include "simd/thread_pool.h"

namespace lvm {

bool has_half_gru() { return current_level() == Level::amx; }

#if defined(__x86_64__)

namespace {

using namespace amx;

constexpr int64_t kGates = 3;               // r, z, n
constexpr int64_t kSlopes = 4;              // n, r, z and that of W_n h
constexpr int64_t kChunk = 2048;            // steps of sequences whose weight gradients are taken at once
constexpr int64_t kBlockNumbers = 1 << 18;  // of a right operand: half a megabyte
constexpr int64_t kColumns = 256;           // of the right operand that stay in the second

// Memory that calls reuse: fresh pages would cost more than the arithmetic.
struct Workspace {
    BigBuffer weights, recurrent, slopes, left, right;

    static BHalf* halves(BigBuffer& buffer, int64_t count) {
        buffer.reserve(count * static_cast<int64_t>(sizeof(BHalf)));
        return reinterpret_cast<BHalf*>(buffer.data());
    }
};

class Borrowed {
  public:
    Borrowed() {
        const std::lock_guard lock(mutex());
        if (idle().empty()) idle().push_back(std::make_unique<Workspace>());
        workspace_ = std::move(idle().back());
        idle().pop_back();
    }
    ~Borrowed() {
        const std::lock_guard lock(mutex());
        idle().push_back(std::move(workspace_));
    }
    Borrowed(const Borrowed&) = delete;
    Borrowed& operator=(const Borrowed&) = delete;
    Workspace& operator*() const { return *workspace_; }
    Workspace* operator->() const { return workspace_.get(); }

  private:
    static std::mutex& mutex() {
        static std::mutex one;
        return one;
    }
    static std::vector<std::unique_ptr<Workspace>>& idle() {
        static std::vector<std::unique_ptr<Workspace>> all;
        return all;
    }
    std::unique_ptr<Workspace> workspace_;
};

// The live rows, step by step.
class LiveRows {
  public:
    explicit LiveRows(const GruShape& shape) : shape_(shape) {
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
    const GruShape& shape_;
    std::vector<int64_t> first_{0};
};

RowList list_of(const std::vector<const void*>& rows, bool is_half) {
    return {rows.data(), static_cast<int64_t>(rows.size()), is_half};
}

// The tile columns of a gate matrix transposed: column (gate, unit) is its row. place(gate, tile of units)
// says where a tile column goes.
template <class Place>
BHalf* pack_gates(const float* matrix, int64_t stride, int64_t width, int64_t hidden, BHalf* out,
                  const Place& place) {
    const int64_t tiles = half_padded(width) / kTileDepth, columns = half_padded(hidden) / kTileSide;
    parallel_for(kGates * columns, 8, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) {
            const int64_t gate = i / columns, first = i % columns * kTileSide;
            std::vector<const void*> rows;
            for (int64_t unit = first; unit < std::min(first + kTileSide, hidden); ++unit) {
                rows.push_back(matrix + (gate * hidden + unit) * stride);
            }
            pack_rows(list_of(rows, false), width, out + place(gate, i % columns) * tiles * kTile, kTile);
        }
    });
    return out;
}

// A gate matrix as a right operand: gates one below the other in the order of `first_gate`, + 1, + 2.
BHalf* pack_matrix(const float* matrix, int64_t stride, int64_t width, int64_t padded, int64_t hidden,
                   int64_t first_gate, BHalf* out) {
    const int64_t depth = half_padded(hidden), tiles = kGates * depth / kTileDepth;
    const std::vector<float> zeros(static_cast<size_t>(width));
    std::vector<const void*> rows;
    for (int64_t i = 0; i < kGates * depth; ++i) {
        const int64_t gate = (first_gate + i / depth) % kGates, unit = i % depth;
        rows.push_back(unit < hidden ? matrix + (gate * hidden + unit) * stride : zeros.data());
    }
    parallel_for(padded / kTileSide, 4, [&](int64_t begin, int64_t end, int) {
        for (int64_t column = begin; column < end; ++column) {
            pack_columns(list_of(rows, false), column * kTileSide, width, out + column * tiles * kTile,
                         kTile);
        }
    });
    return out;
}

int64_t pieces_of(int64_t count) {  // a few for every thread
    return std::max(int64_t{1}, count / (4 * num_threads()));
}

// Columns of a right operand of this depth that stay in the second cache.
int64_t columns_at_once(int64_t depth) {
    return std::clamp(kBlockNumbers / depth / kTileSide * kTileSide, kTileSide, kMostColumns);
}

// A product of all live rows with a packed right operand, in blocks of columns.
struct LargeProduct {
    const BHalf* right;
    int64_t depth, columns;
    const float* bias;
    bool out_is_half;
};

// left(first, rows, scratch) gives the rows of the left operand and how far they lie apart; out(first, rows,
// addresses) says where those of the product go.
template <class LeftOf, class OutOf>
void multiply_live(const LiveRows& live, const LargeProduct& product, const LeftOf& left, const OutOf& out) {
    const int64_t blocks = (live.count() + kTileRows - 1) / kTileRows,
                  at_once = columns_at_once(product.depth);
    parallel_for(blocks, pieces_of(blocks), [&](int64_t begin, int64_t end, int) {
        BigBuffer scratch;
        for (int64_t column = 0; column < product.columns; column += at_once) {
            const int64_t columns = std::min(at_once, product.columns - column);
            for (int64_t block = begin; block < end; ++block) {
                const int64_t first = block * kTileRows, rows = std::min(kTileRows, live.count() - first);
                char* addresses[kTileRows];
                out(first, rows, addresses);
                for (int64_t i = 0; i < rows; ++i) addresses[i] += column * (product.out_is_half ? 2 : 4);
                const auto [from, apart] = left(first, rows, scratch);
                multiply({from, apart, rows, product.depth, product.right + column * product.depth, columns,
                          product.bias ? product.bias + column : nullptr, addresses, product.out_is_half});
            }
        }
    });
}

// gates <- W_ih x + b_ih, and b_hh where it only adds (r and z).
void project(const GruShape& shape, const HalfGruForward& arrays, const LiveRows& live,
             Workspace& workspace) {
    const int64_t hidden = shape.hidden, padded = half_padded(hidden), inputs = arrays.weights.inputs,
                  depth = half_padded(inputs), wide = kGates * padded;
    const BHalf* right =
        pack_gates(arrays.weights.input, arrays.weights.input_stride, inputs, hidden,
                   Workspace::halves(workspace.weights, wide * depth),
                   [&](int64_t gate, int64_t tile) { return gate * padded / kTileSide + tile; });
    std::vector<float> bias(static_cast<size_t>(wide));
    for (int64_t gate = 0; gate < kGates; ++gate) {
        for (int64_t unit = 0; unit < hidden; ++unit) {
            const int64_t i = gate * hidden + unit;
            bias[static_cast<size_t>(gate * padded + unit)] =
                arrays.input_bias[i] + (gate < 2 ? arrays.recurrent_bias[i] : 0);
        }
    }
    const auto left = [&](int64_t first, int64_t rows, BigBuffer& scratch) {
        BHalf* packed = Workspace::halves(scratch, kTileRows * depth);
        const auto sources = live.addresses(arrays.inputs, first, first + rows);
        pack_left(list_of(sources, arrays.inputs.is_half), inputs, depth, packed);
        return std::pair<const BHalf*, int64_t>(packed, depth);
    };
    const auto out = [&](int64_t first, int64_t rows, char** addresses) {
        for (int64_t i = 0; i < rows; ++i)
            addresses[i] = reinterpret_cast<char*>(arrays.gates + (first + i) * wide);
    };
    multiply_live(live, {right, depth, wide, bias.data(), true}, left, out);
}

// How threads share out the recurrence: each has some units of some sequences, and so its part of the weights
// in its own cache. All meet after every step.
class Shares {
  public:
    Shares(int64_t batch, int64_t padded) : batch_(batch), blocks_(padded / kUnits) {
        const int64_t threads = num_threads();
        members_ = std::min(threads, blocks_);
        teams_ = std::clamp(threads / members_, int64_t{1}, (batch + kSequences - 1) / kSequences);
    }

    int count() const { return static_cast<int>(members_ * teams_); }
    int64_t teams() const { return teams_; }

    struct Part {
        int64_t team, first_sequence, sequences, first_unit, last_unit;
    };
    Part part(int share) const {
        const int64_t team = share / members_, member = share % members_;
        const int64_t first = batch_ * team / teams_, last = batch_ * (team + 1) / teams_;
        return {team, first, last - first, blocks_ * member / members_ * kUnits,
                blocks_ * (member + 1) / members_ * kUnits};
    }

  private:
    int64_t batch_, blocks_, members_, teams_;
};

// Calls body(first, count) for the sequences of a part, as many as a step takes at once.
template <class Body>
void over_sequences(const Shares::Part& part, const Body& body) {
    for (int64_t first = 0; first < part.sequences; first += kSequences) {
        body(part.first_sequence + first, std::min(kSequences, part.sequences - first));
    }
}

void recur(const GruShape& shape, const HalfGruForward& arrays, const LiveRows& live, Workspace& workspace) {
    const int64_t hidden = shape.hidden, padded = half_padded(hidden), batch = shape.batch;
    const BHalf* weights = pack_gates(arrays.weights.recurrent, hidden, hidden, hidden,
                                      Workspace::halves(workspace.recurrent, kGates * padded * padded),
                                      [](int64_t gate, int64_t tile) {
                                          constexpr int64_t kHalves = kUnits / kTileSide;
                                          return (tile / kHalves * kGates + gate) * kHalves + tile % kHalves;
                                      });
    std::vector<float> bias(static_cast<size_t>(padded));
    std::copy(arrays.recurrent_bias + 2 * hidden, arrays.recurrent_bias + 3 * hidden, bias.begin());
    for (int64_t b = 0; b < batch; ++b) {
        for (int64_t unit = 0; unit < padded; ++unit) {
            const float value = unit < hidden ? arrays.initial[b * hidden + unit] : 0;
            arrays.final[b * padded + unit] = value;
            arrays.states[b * padded + unit] = narrow<BHalf>(value);
        }
    }
    const Shares shares(batch, padded);
    run_stages(shape.steps, shares.count(), [&](int64_t t, int share) {
        const Shares::Part part = shares.part(share);
        over_sequences(part, [&](int64_t first, int64_t count) {
            const int64_t active = shape.active(t, first, count), row = live.first(t) + first;
            const BHalf* before = arrays.states + (t * batch + first) * padded;
            BHalf* after = arrays.states + ((t + 1) * batch + first) * padded;
            if (active > 0) {
                step({active, padded, part.first_unit, part.last_unit, weights, bias.data(), before, after,
                      arrays.final + first * padded, arrays.gates + row * kGates * padded,
                      arrays.candidates + row * padded});
            }
            for (int64_t b = active; b < count; ++b) {
                std::copy(before + b * padded + part.first_unit, before + b * padded + part.last_unit,
                          after + b * padded + part.first_unit);
            }
        });
    });
}

// slopes, the gradients of the biases, and that of the initial state.
class BackwardRecurrence {
  public:
    BackwardRecurrence(const GruShape& shape, const HalfGruBackward& arrays, const LiveRows& live,
                       const BHalf* weights, BHalf* slopes)
        : shape_(shape),
          arrays_(arrays),
          live_(live),
          weights_(weights),
          slopes_(slopes),
          padded_(half_padded(shape.hidden)),
          shares_(shape.batch, padded_),
          through_(static_cast<size_t>(shape.batch * padded_)),
          sums_(static_cast<size_t>(shares_.teams() * kSlopes * padded_)) {}

    void run() {
        std::copy(arrays_.grad_final, arrays_.grad_final + shape_.batch * padded_, arrays_.grad_initial);
        run_stages(shape_.steps + 1, shares_.count(), [&](int64_t stage, int share) {
            const Shares::Part part = shares_.part(share);
            const int64_t t = shape_.steps - 1 - stage;
            over_sequences(part, [&](int64_t first, int64_t count) {
                if (stage > 0) pass_through(t + 1, first, count, part);
                add_to_resting(t + 1, first, count, part);
                if (t >= 0) take_slopes(t, first, count, part);
            });
        });
        for (size_t i = 0; i < through_.size(); ++i) arrays_.grad_initial[i] += through_[i];
        sum_biases();
    }

  private:
    int64_t row(int64_t t, int64_t first) const { return live_.first(t) + first; }
    int64_t state(int64_t t, int64_t first) const { return (t * shape_.batch + first) * padded_; }

    // Needs the slopes of all units: they were taken one stage before.
    void pass_through(int64_t t, int64_t first, int64_t count, const Shares::Part& part) {
        const int64_t active = shape_.active(t, first, count);
        if (active == 0) return;
        through_weights({active, padded_, part.first_unit, part.last_unit,
                         slopes_ + row(t, first) * slope_stride(padded_), weights_,
                         through_.data() + first * padded_});
    }

    // What is given to state t of a sequence that has no step t goes on to the state before.
    void add_to_resting(int64_t t, int64_t first, int64_t count, const Shares::Part& part) {
        if (!arrays_.grad_states) return;
        const int64_t active = t > 0 ? shape_.active(t - 1, first, count) : 0;
        for (int64_t b = active; b < count; ++b) {
            const BHalf* given = arrays_.grad_states + state(t, first + b);
            float* carry = arrays_.grad_initial + (first + b) * padded_;
            for (int64_t unit = part.first_unit; unit < part.last_unit; ++unit)
                carry[unit] += widen(given[unit]);
        }
    }

    void take_slopes(int64_t t, int64_t first, int64_t count, const Shares::Part& part) {
        const int64_t active = shape_.active(t, first, count), at = row(t, first);
        if (active == 0) return;
        slopes_of_step({active, padded_, part.first_unit, part.last_unit,
                        arrays_.grad_states ? arrays_.grad_states + state(t + 1, first) : nullptr,
                        arrays_.states + state(t, first), arrays_.gates + at * kGates * padded_,
                        arrays_.candidates + at * padded_, slopes_ + at * slope_stride(padded_),
                        through_.data() + first * padded_, arrays_.grad_initial + first * padded_,
                        sums_.data() + part.team * kSlopes * padded_});
    }

    void sum_biases() {
        std::fill(arrays_.grad_input_bias, arrays_.grad_input_bias + kGates * padded_, 0.0f);
        std::fill(arrays_.grad_recurrent_bias, arrays_.grad_recurrent_bias + kGates * padded_, 0.0f);
        for (int64_t team = 0; team < shares_.teams(); ++team) {
            const float* sums = sums_.data() + team * kSlopes * padded_;
            for (int64_t i = 0; i < kGates * padded_; ++i) {
                arrays_.grad_input_bias[i] += sums[i < 2 * padded_ ? i + padded_ : i - 2 * padded_];
                arrays_.grad_recurrent_bias[i] += sums[i + padded_];
            }
        }
    }

    const GruShape& shape_;
    const HalfGruBackward& arrays_;
    const LiveRows& live_;
    const BHalf* weights_;
    BHalf* slopes_;
    int64_t padded_;
    Shares shares_;
    std::vector<float> through_, sums_;
};

// grad_inputs <- slopes of x_n, x_r, x_z times W_ih.
void backward_to_inputs(const GruShape& shape, const HalfGruBackward& arrays, const LiveRows& live,
                        const BHalf* slopes, Workspace& workspace) {
    const int64_t padded = half_padded(shape.hidden), inputs = arrays.weights.inputs,
                  width = half_padded(inputs), depth = kGates * padded;
    const BHalf* right = pack_matrix(arrays.weights.input, arrays.weights.input_stride, inputs, width,
                                     shape.hidden, 2, Workspace::halves(workspace.weights, depth * width));
    const auto out_of = [&](int64_t step, int64_t sequence) {
        return static_cast<char*>(const_cast<void*>(arrays.grad_inputs.at(step, sequence)));
    };
    for (int64_t t = 0; t < shape.steps; ++t) {
        for (int64_t b = shape.active(t, 0, shape.batch); b < shape.batch; ++b) {
            std::fill_n(out_of(t, b), width * (arrays.grad_inputs.is_half ? 2 : 4), char{0});
        }
    }
    const auto left = [&](int64_t first, int64_t, BigBuffer&) {
        return std::pair<const BHalf*, int64_t>(slopes + first * slope_stride(padded), slope_stride(padded));
    };
    const auto out = [&](int64_t first, int64_t rows, char** addresses) {
        live.over(first, first + rows,
                  [&](int64_t i, int64_t step, int64_t sequence) { addresses[i] = out_of(step, sequence); });
    };
    multiply_live(live, {right, depth, width, nullptr, arrays.grad_inputs.is_half}, left, out);
}

// grad_input <- slopes of x_r, x_z, x_n, transposed, times the inputs; grad_recurrent <- those of W h times
// the states before: sums over all live rows, a chunk of them at a time.
class WeightGradients {
  public:
    WeightGradients(const GruShape& shape, const HalfGruBackward& arrays, const LiveRows& live,
                    const BHalf* slopes, Workspace& workspace)
        : arrays_(arrays),
          live_(live),
          slopes_(slopes),
          padded_(half_padded(shape.hidden)),
          width_(half_padded(arrays.weights.inputs)),
          states_{arrays.states, true, shape.batch * padded_, padded_} {
        const int64_t most = half_padded(std::min(kChunk, live.count()));
        left_ = Workspace::halves(workspace.left, most * kSlopes * padded_);
        right_ = Workspace::halves(workspace.right, most * (width_ + padded_));
    }

    void run() {
        const int64_t chunks = (live_.count() + kChunk - 1) / kChunk;
        for (int64_t chunk = 0; chunk < chunks; ++chunk) {
            begin_ = live_.count() * chunk / chunks;
            end_ = live_.count() * (chunk + 1) / chunks;
            tiles_ = half_padded(end_ - begin_) / kTileDepth;
            pack();
            multiply_chunk(chunk > 0);
        }
        if (chunks == 0) {
            std::fill(arrays_.grad_input, arrays_.grad_input + kGates * padded_ * width_, 0.0f);
            std::fill(arrays_.grad_recurrent, arrays_.grad_recurrent + kGates * padded_ * padded_, 0.0f);
        }
    }

  private:
    int64_t column_stride() const { return tiles_ * kTile; }

    void pack() {
        const auto inputs = live_.addresses(arrays_.inputs, begin_, end_),
                   states = live_.addresses(states_, begin_, end_);
        const int64_t lefts = kSlopes * padded_ / kTileSide, of_inputs = width_ / kTileSide,
                      rights = of_inputs + padded_ / kTileSide;
        parallel_for(lefts + rights, 4, [&](int64_t begin, int64_t end, int) {
            for (int64_t i = begin; i < end; ++i) {
                const int64_t column = i < lefts ? i : i - lefts;
                if (i < lefts) {
                    const BHalf* slopes = slopes_ + begin_ * slope_stride(padded_) + column * kTileSide;
                    BHalf* out =
                        left_ + column / 2 * 2 * column_stride() + column % 2 * kTile;  // pairs of tile rows
                    pack_left_transposed(slopes, end_ - begin_, slope_stride(padded_), out, 2 * kTile);
                } else if (column < of_inputs) {
                    pack_columns(list_of(inputs, arrays_.inputs.is_half), column * kTileSide,
                                 arrays_.weights.inputs, right_ + column * column_stride(), kTile);
                } else {
                    pack_columns(list_of(states, true), (column - of_inputs) * kTileSide, padded_,
                                 right_ + column * column_stride(), kTile);
                }
            }
        });
    }

    void multiply_chunk(bool add) {
        for (int64_t column = 0; column < width_ + padded_;) {
            const bool of_inputs = column < width_;
            const int64_t end = of_inputs ? width_ : width_ + padded_,
                          count = std::min(kColumns, end - column);
            const int64_t first_slope = of_inputs ? 0 : 1, units = kGates * padded_ / kTileRows;
            parallel_for(units, pieces_of(units), [&](int64_t begin, int64_t last, int) {
                for (int64_t unit = begin; unit < last; ++unit) {
                    block(first_slope * padded_ + unit * kTileRows, column, count, add);
                }
            });
            column += count;
        }
    }

    // 32 slopes from `slope` times `count` columns of the right from `column`.
    void block(int64_t slope, int64_t column, int64_t count, bool add) {
        const bool of_inputs = column < width_;
        const int64_t stride = of_inputs ? width_ : padded_;
        const int64_t row = of_inputs ? (slope + 2 * padded_) % (kGates * padded_) : slope - padded_;
        float* out = (of_inputs ? arrays_.grad_input : arrays_.grad_recurrent) + row * stride + column -
                     (of_inputs ? 0 : width_);
        const BHalf *left = left_ + slope / kTileSide * column_stride(),
                    *right = right_ + column / kTileSide * column_stride();
        multiply_tiles(left, right, tiles_, count, out, stride, add);
    }

    const HalfGruBackward& arrays_;
    const LiveRows& live_;
    const BHalf* slopes_;
    int64_t padded_, width_;
    StepVectors states_;
    BHalf *left_, *right_;
    int64_t begin_ = 0, end_ = 0, tiles_ = 0;
};

void check_level() {
    if (!has_half_gru()) throw std::runtime_error("the bfloat16 GRU needs the instruction set amx");
}

}  // namespace

void gru_half_forward(const GruShape& shape, const HalfGruForward& arrays) {
    check_level();
    const Borrowed workspace;
    const LiveRows live(shape);
    project(shape, arrays, live, *workspace);
    recur(shape, arrays, live, *workspace);
}

void gru_half_backward(const GruShape& shape, const HalfGruBackward& arrays) {
    check_level();
    const Borrowed workspace;
    const LiveRows live(shape);
    const int64_t hidden = shape.hidden, padded = half_padded(hidden);
    BHalf* slopes = Workspace::halves(workspace->slopes, (live.count() + kTileRows) * slope_stride(padded));
    const BHalf* weights = pack_matrix(arrays.weights.recurrent, hidden, hidden, padded, hidden, 0,
                                       Workspace::halves(workspace->recurrent, kGates * padded * padded));
    BackwardRecurrence(shape, arrays, live, weights, slopes).run();
    if (arrays.grad_inputs.data) backward_to_inputs(shape, arrays, live, slopes, *workspace);
    WeightGradients(shape, arrays, live, slopes, *workspace).run();
}

#else

void gru_half_forward(const GruShape&, const HalfGruForward&) {
    throw std::runtime_error("the bfloat16 GRU needs the instruction set amx");
}
void gru_half_backward(const GruShape&, const HalfGruBackward&) {
    throw std::runtime_error("the bfloat16 GRU needs the instruction set amx");
}

#endif

}  // namespace lvm

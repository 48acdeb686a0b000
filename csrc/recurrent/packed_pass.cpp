#include "recurrent/packed_pass.h"

#include <algorithm>
#include <cmath>

#include "runtime/phases.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kChunk = 128;  // vectors at once through a layer: what they make of its inputs stays near
constexpr int kMostShares = 16;
constexpr int64_t kWholeRows = 16;   // that kernels for many vectors may read
constexpr double kTinyNorm = 1e-12;  // torch's normalize divides by no less

bool is_many(int64_t rows) { return rows >= kMany; }

int64_t chunk_steps(int64_t batch) { return std::max<int64_t>(kChunk / batch, 1); }

int shares_of(int64_t blocks) {
    const int64_t most = std::min<int64_t>(kMostShares, blocks);
    return static_cast<int>(std::min<int64_t>(num_threads(), most));
}

size_t count_of(int64_t count) { return static_cast<size_t>(count); }

}  // namespace

float length_of(const float* x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
    return static_cast<float>(std::max(std::sqrt(sum), kTinyNorm));
}

PackedPass::PackedPass(const PackedModel& model, int64_t steps, int64_t batch)
    : batch_(batch),
      rows_(std::min(steps, chunk_steps(batch)) * batch),
      shares_(shares_of(model.layers_[0].recurrence.blocks)) {
    const int64_t hidden = model.units(), gates = model.layers_[0].recurrence.outputs;
    const int64_t deepest = std::max({model.layers_[0].inputs.depth, model.layers_[0].recurrence.depth,
                                      model.entry_.depth, model.output_.depth, model.keys_.depth,
                                      model.contents_.depth, model.narrow_.depth, hidden});
    // An odd number of cache lines: vectors an even power of two apart would push each other out of the
    // cache.
    code_bytes_ = round_up(deepest * model.format_.code_bytes, kCacheLine) | kCacheLine;
    codes_.resize(count_of(round_up(rows_, kWholeRows) * code_bytes_));
    scales_.resize(count_of(round_up(rows_, kWholeRows)));
    projected_.resize(count_of(rows_ * gates));
    products_.resize(count_of(batch * gates));
    for (auto& sequence : sequences_) sequence.resize(count_of(rows_ * hidden));
    if (model.entry_.outputs > 0) {
        for (auto& block : blocks_) block.resize(count_of(rows_ * model.entry_.outputs));
    }
    // whole vectors are read of its parts
    keys_.resize(count_of(batch * model.keys_.outputs + model.contents_.outputs));
    contents_.resize(count_of(batch * model.contents_.outputs));
    wide_.resize(count_of(batch * model.widen_.outputs));
    raw_.resize(count_of(batch * (model.has_memory() ? model.narrow_ : model.output_).outputs));
    scratch_.resize(count_of(shares_));
    for (Scratch& scratch : scratch_) {
        scratch.codes.resize(count_of(round_up(batch, kWholeRows) * code_bytes_));
        scratch.scales.resize(count_of(round_up(batch, kWholeRows)));
        scratch.numbers.resize(count_of(deepest));
    }
}

bool PackedPass::fits(const PackedModel& model, int64_t steps, int64_t batch) const {
    return batch == batch_ && std::min(steps, chunk_steps(batch)) * batch <= rows_ &&
           shares_ == shares_of(model.layers_[0].recurrence.blocks);
}

const float* PackedPass::raw(int64_t row) const {
    return raw_.data() + row * (model_->has_memory() ? model_->narrow_ : model_->output_).outputs;
}

void PackedPass::run(const PackedModel& model, const float* context, int64_t steps, States& states) {
    model_ = &model;
    context_ = context;
    steps_ = steps;
    const int64_t chunks = (steps + chunk_steps(batch_) - 1) / chunk_steps(batch_);
    chunk_ = (steps + chunks - 1) / chunks;
    const int64_t entering = model.entry_.outputs > 0 ? 2 : 0, in_layer = 2 + chunk_;
    const int64_t in_chunk = entering + in_layer * model.sizes_.layers, recurrent = chunks * in_chunk;
    const int64_t last_rows = (steps - (chunks - 1) * chunk_ - 1) * batch_, top = model.sizes_.layers - 1;
    final_ = sequence(top) + last_rows * model.units();
    final_block_ = block(top) + last_rows * model.entry_.outputs;
    const auto work = [&](int64_t phase, int share) {
        if (phase >= recurrent) return head(static_cast<int>(phase - recurrent), share);
        const int64_t chunk = phase / in_chunk, within = phase % in_chunk;
        if (within < entering) return enter(chunk, within, share);
        const int64_t in_layers = within - entering;
        recur(chunk, in_layers / in_layer, in_layers % in_layer, share, states);
    };
    // From the second chunk on the states it began with are written over.
    const CacheLineVector<float> began = chunks > 1 ? states.now_ : CacheLineVector<float>();
    try {
        run_phases(recurrent + (model.has_memory() ? 4 : 1), shares_, work);
    } catch (...) {
        if (chunks > 1) states.now_ = began;
        throw;
    }
    if (chunks % 2) states.now_.swap(states.next_);
}

PackedPass::Range PackedPass::part_of(int64_t count, int share, int shares) {
    return {count * share / shares, count * (share + 1) / shares};
}

PackedPass::Range PackedPass::blocks_of(const PackedMatrix& matrix, int share) const {
    const Range part = part_of(matrix.blocks / matrix.whole, share, shares_);
    return {part.first * matrix.whole, part.last * matrix.whole};
}

// The map before the first layer: first the codes of the vectors, then the products.
void PackedPass::enter(int64_t chunk, int64_t phase, int share) {
    const int64_t first = chunk * chunk_, rows = std::min(chunk_, steps_ - first) * batch_;
    if (phase == 1) return project(model_->entry_, rows, share, block(0));
    const auto prepare = is_many(rows) ? model_->format_.prepare_many : model_->format_.prepare_few;
    const Range mine = part_of(rows, share, shares_);
    for (int64_t row = mine.first; row < mine.last; ++row) {
        const float* source = context_ + (first * batch_ + row) * model_->sizes_.input;
        scales_[count_of(row)] =
            prepare(source, model_->sizes_.input, model_->entry_.depth, codes_.data() + row * code_bytes_);
    }
}

void PackedPass::recur(int64_t chunk, int64_t layer, int64_t phase, int share, States& states) {
    const int64_t first = chunk * chunk_, steps = std::min(chunk_, steps_ - first), rows = steps * batch_;
    if (phase == 0) return prepare_inputs(first, rows, layer, share);
    if (phase == 1) {
        return project(model_->layers_[count_of(layer)].inputs, rows, share, projected_.data());
    }
    const int64_t t = phase - 2;
    if (t < steps) step(t, t + 1 == steps, layer, share, states, chunk % 2 == 1);
}

void PackedPass::prepare_inputs(int64_t first, int64_t rows, int64_t layer, int share) {
    const PackedModelSizes& sizes = model_->sizes_;
    const auto prepare = is_many(rows) ? model_->format_.prepare_many : model_->format_.prepare_few;
    const int64_t depth = model_->layers_[count_of(layer)].inputs.depth;
    const int64_t count = layer == 0 && model_->entry_.outputs == 0 ? sizes.input : sizes.hidden;
    const Range mine = part_of(rows, share, shares_);
    for (int64_t row = mine.first; row < mine.last; ++row) {
        scales_[count_of(row)] =
            prepare(input_of(first, row, layer, share), count, depth, codes_.data() + row * code_bytes_);
    }
}

// What a layer reads at a row of the chunk, whose steps begin with `first`.
const float* PackedPass::input_of(int64_t first, int64_t row, int64_t layer, int share) {
    const int64_t width = model_->entry_.outputs, input = model_->sizes_.input;
    if (layer > 0) {
        const float* state = sequence(layer - 1) + row * model_->units();
        if (model_->block_norms_.empty()) return state;
        return normed_block(layer - 1, block(layer - 1) + row * width, state, share,
                            block(layer) + row * width);
    }
    if (width > 0) return block(0) + row * width;
    const float* vector = context_ + (first * batch_ + row) * input;
    const PackedModel::Norm& norm = model_->input_norm_;
    if (norm.weight.empty()) return vector;
    float* normed = at(share).numbers.data();
    model_->activations_.layer_norm(vector, input, norm.weight.data(), norm.bias.data(), norm.epsilon,
                                    normed);
    return normed;
}

// out = LayerNorm(x + state), of one layer.
const float* PackedPass::normed_block(int64_t layer, const float* x, const float* state, int share,
                                      float* out) {
    const int64_t hidden = model_->sizes_.hidden;
    const PackedModel::Norm& norm = model_->block_norms_[count_of(layer)];
    float* sums = at(share).numbers.data();
    for (int64_t i = 0; i < hidden; ++i) sums[i] = x[i] + state[i];
    model_->activations_.layer_norm(sums, hidden, norm.weight.data(), norm.bias.data(), norm.epsilon, out);
    return out;
}

void PackedPass::project(const PackedMatrix& matrix, int64_t rows, int share, float* out) {
    const auto product = is_many(rows) ? model_->format_.many : model_->format_.few;
    const Range mine = blocks_of(matrix, share);
    product(matrix, {codes_.data(), code_bytes_, scales_.data()}, rows, mine.first, mine.last, out);
}

void PackedPass::step(int64_t t, bool is_last, int64_t layer, int share, States& states, bool swapped) {
    const PackedMatrix& matrix = model_->layers_[count_of(layer)].recurrence;
    const int64_t hidden = model_->units(), lanes = model_->packed_.lanes, plane = batch_ * hidden;
    const int64_t offset = layer * model_->states_of_layer() * plane;
    const float* before = (swapped ? states.next_ : states.now_).data() + offset;
    float* after = (swapped ? states.now_ : states.next_).data() + offset;
    float* made = sequence(layer) + t * plane;
    const float* last = t == 0 ? before : made - plane;
    const float* cells = (t == 0 ? before : after) + plane;  // of an LSTM: they stand behind its states
    const Range mine = blocks_of(matrix, share);
    const int64_t output = mine.first * 3 * lanes, unit = output / model_->gates();
    const int64_t count = (mine.last - mine.first) * 3 * lanes / model_->gates();
    multiply(matrix, last, hidden, model_->sizes_.hidden, share, products_.data());
    for (int64_t b = 0; b < batch_; ++b) {
        const float* x = projected_.data() + (t * batch_ + b) * matrix.outputs + output;
        const float* products = products_.data() + b * matrix.outputs + output;
        const int64_t place = b * hidden + unit;
        if (model_->cell_ == Cell::gru) {
            model_->activations_.gates(x, products, last + place, count / lanes, made + place);
        } else {
            model_->activations_.lstm_gates(x, products, cells + place, count / lanes, after + plane + place,
                                            made + place);
        }
        if (is_last) std::copy(made + place, made + place + count, after + place);
    }
}

// Every share makes the same codes for itself: that is quicker than to wait for another's.
void PackedPass::multiply(const PackedMatrix& matrix, const float* x, int64_t stride, int64_t count,
                          int share, float* out) {
    for (int64_t b = 0; b < batch_; ++b) encode(matrix, b, x + b * stride, count, share);
    multiply_codes(matrix, share, out);
}

void PackedPass::encode(const PackedMatrix& matrix, int64_t b, const float* x, int64_t count, int share) {
    at(share).scales[count_of(b)] =
        model_->format_.prepare_few(x, count, matrix.depth, at(share).codes.data() + b * code_bytes_);
}

void PackedPass::multiply_codes(const PackedMatrix& matrix, int share, float* out) {
    const Range mine = blocks_of(matrix, share);
    model_->format_.few(matrix, {at(share).codes.data(), code_bytes_, at(share).scales.data()}, batch_,
                        mine.first, mine.last, out);
}

void PackedPass::head(int phase, int share) {
    if (!model_->has_memory()) return make_output(share);
    const int64_t hidden = model_->sizes_.hidden;
    if (phase == 0) return multiply(model_->keys_, final_, model_->units(), hidden, share, keys_.data());
    if (phase == 1) return read_memory(share);
    if (phase == 2) return widen(share);
    multiply(model_->narrow_, wide_.data(), model_->widen_.outputs, 2 * hidden, share, raw_.data());
}

void PackedPass::make_output(int share) {
    const PackedMatrix& matrix = model_->output_;
    const int64_t hidden = model_->sizes_.hidden, top = model_->sizes_.layers - 1;
    for (int64_t b = 0; b < batch_; ++b) {
        const float* state = final_ + b * model_->units();
        if (!model_->block_norms_.empty()) {
            float* normed = at(share).numbers.data();
            state = normed_block(top, final_block_ + b * model_->entry_.outputs, state, share, normed);
        }
        encode(matrix, b, state, hidden, share);
    }
    multiply_codes(matrix, share, raw_.data());
}

void PackedPass::read_memory(int share) {
    const PackedModelSizes& sizes = model_->sizes_;
    const PackedMatrix& matrix = model_->contents_;
    float* weights = at(share).numbers.data();
    for (int64_t b = 0; b < batch_; ++b) {
        const float* scores = key(b);
        const float scale = 1 / length_of(scores + sizes.slots, sizes.input);
        model_->activations_.attention(scores, scale, sizes.slots, weights);
        encode(matrix, b, weights, sizes.slots, share);
    }
    multiply_codes(matrix, share, contents_.data());
    for (int64_t b = 0; b < batch_; ++b) {
        gelu(matrix, b, key(b) + sizes.slots + sizes.input, share, contents_.data());
    }
}

void PackedPass::widen(int share) {
    const PackedMatrix& matrix = model_->widen_;
    const PackedModel::Norm& norm = model_->fusion_norm_;
    const int64_t hidden = model_->sizes_.hidden;
    float* normed = at(share).numbers.data();
    for (int64_t b = 0; b < batch_; ++b) {
        const float* fused = contents_.data() + b * model_->contents_.outputs;
        model_->activations_.layer_norm(fused, hidden, norm.weight.data(), norm.bias.data(), norm.epsilon,
                                        normed);
        encode(matrix, b, normed, hidden, share);
    }
    multiply_codes(matrix, share, wide_.data());
    for (int64_t b = 0; b < batch_; ++b) gelu(matrix, b, nullptr, share, wide_.data());
}

// Over this share's outputs.
void PackedPass::gelu(const PackedMatrix& matrix, int64_t b, const float* addend, int share, float* out) {
    const Range mine = blocks_of(matrix, share);
    const int64_t width = matrix.outputs / matrix.blocks, first = mine.first * width;
    model_->activations_.gelu(out + b * matrix.outputs + first, addend ? addend + first : nullptr,
                              (mine.last - mine.first) * width);
}

}  // namespace lvm

#include "recurrent/memory_gru.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/cache_line_vector.h"
#include "rowwise/rowwise.h"
#include "runtime/phases.h"
#include "runtime/thread_pool.h"

namespace lvm {
namespace {

constexpr int64_t kChunk = 128;  // vectors at once through a layer: what they make of its inputs stays near
constexpr int kMostShares = 16;
constexpr int64_t kWholeRows = 16;   // that kernels for many vectors may read
constexpr double kEpsilon = 1e-8;    // of reconstruct
constexpr double kTinyNorm = 1e-12;  // torch's normalize divides by no less

bool all_finite(const float* x, int64_t count) {
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) finite &= std::fabs(x[i]) <= std::numeric_limits<float>::max();
    return finite;
}

float norm_of(const float* x, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += static_cast<double>(x[i]) * x[i];
    return static_cast<float>(std::max(std::sqrt(sum), kTinyNorm));
}

struct Range {
    int64_t first, last;
};

Range part_of(int64_t count, int share, int shares) {
    return {count * share / shares, count * (share + 1) / shares};
}

// Codes of a few vectors, and room for one vector before it becomes codes.
struct Scratch {
    CacheLineVector<uint8_t> codes;
    CacheLineVector<float> scales, numbers;
};

}  // namespace

// One way through the model, and all the buffers for it.
class MemoryGru::Pass {
  public:
    Pass(const MemoryGru& model, int64_t steps, int64_t batch)
        : batch_(batch), rows_(std::min(steps, chunk_steps(batch)) * batch) {
        const int64_t hidden = units(model), gates = model.layers_[0].recurrence.outputs;
        const int64_t deepest = std::max(
            {model.layers_[0].inputs.depth, model.keys_.depth, model.contents_.depth, model.narrow_.depth});
        // An odd number of cache lines: vectors an even power of two apart would push each other out of the
        // cache.
        code_bytes_ = round_up(deepest * model.format_.code_bytes, kCacheLine) | kCacheLine;
        codes_.resize(static_cast<size_t>(round_up(rows_, kWholeRows) * code_bytes_));
        scales_.resize(static_cast<size_t>(round_up(rows_, kWholeRows)));
        projected_.resize(static_cast<size_t>(rows_ * gates));
        products_.resize(static_cast<size_t>(batch * gates));
        for (auto& sequence : sequences_) sequence.resize(static_cast<size_t>(rows_ * hidden));
        const int64_t padding = model.contents_.outputs;
        keys_.resize(static_cast<size_t>(batch * model.keys_.outputs +
                                         padding));  // whole vectors are read of its parts
        contents_.resize(static_cast<size_t>(batch * model.contents_.outputs));
        wide_.resize(static_cast<size_t>(batch * model.widen_.outputs));
        raw_.resize(static_cast<size_t>(batch * model.narrow_.outputs));
        shares_ = shares_of(model);
        scratch_.resize(static_cast<size_t>(shares_));
        for (Scratch& scratch : scratch_) {
            scratch.codes.resize(static_cast<size_t>(batch * code_bytes_));
            scratch.scales.resize(static_cast<size_t>(batch));
            scratch.numbers.resize(static_cast<size_t>(deepest));
        }
    }

    bool fits(const MemoryGru& model, int64_t steps, int64_t batch) const {
        return batch == batch_ && std::min(steps, chunk_steps(batch)) * batch <= rows_ &&
               shares_ == shares_of(model);
    }

    void run(const MemoryGru& model, const float* context, int64_t steps, States& states) {
        model_ = &model;
        context_ = context;
        steps_ = steps;
        const int64_t chunks = (steps + chunk_steps(batch_) - 1) / chunk_steps(batch_);
        chunk_ = (steps + chunks - 1) / chunks;
        const int64_t in_layer = 2 + chunk_, in_chunk = in_layer * model.sizes_.layers;
        const int64_t recurrent = chunks * in_chunk;
        const CacheLineVector<float>& last = chunks % 2 ? states.next_ : states.now_;
        final_ = last.data() + (model.sizes_.layers - 1) * batch_ * units(model);
        const auto work = [&](int64_t phase, int share) {
            if (phase >= recurrent) return head(static_cast<int>(phase - recurrent), share);
            const int64_t chunk = phase / in_chunk, layer = phase % in_chunk / in_layer;
            float* before = (chunk % 2 ? states.next_ : states.now_).data();
            float* after = (chunk % 2 ? states.now_ : states.next_).data();
            const int64_t offset = layer * batch_ * units(model);
            recur(chunk, layer, phase % in_layer, share, before + offset, after + offset);
        };
        // From the second chunk on the states it began with are written over.
        const CacheLineVector<float> began = chunks > 1 ? states.now_ : CacheLineVector<float>();
        try {
            run_phases(recurrent + 4, shares_, work);
        } catch (...) {
            if (chunks > 1) states.now_ = began;
            throw;
        }
        if (chunks % 2) states.now_.swap(states.next_);
    }

    const float* raw(int64_t row) const { return raw_.data() + row * model_->narrow_.outputs; }

  private:
    static int64_t chunk_steps(int64_t batch) { return std::max<int64_t>(kChunk / batch, 1); }
    static int64_t units(const MemoryGru& model) { return model.layers_[0].recurrence.outputs / 3; }

    static int shares_of(const MemoryGru& model) {
        const int64_t most = std::min<int64_t>(kMostShares, model.layers_[0].recurrence.blocks);
        return static_cast<int>(std::min<int64_t>(num_threads(), most));
    }

    bool is_many(int64_t rows) const { return rows >= kMany; }

    void recur(int64_t chunk, int64_t layer, int64_t phase, int share, const float* before, float* after) {
        const int64_t first = chunk * chunk_, steps = std::min(chunk_, steps_ - first), rows = steps * batch_;
        if (phase == 0) return prepare_inputs(first, rows, layer, share);
        if (phase == 1) return project_inputs(rows, layer, share);
        const int64_t t = phase - 2;
        if (t >= steps) return;
        step(t, t + 1 == steps, layer, share, before, after);
    }

    void prepare_inputs(int64_t first, int64_t rows, int64_t layer, int share) {
        const MemoryGruSizes& sizes = model_->sizes_;
        const auto prepare = is_many(rows) ? model_->format_.prepare_many : model_->format_.prepare_few;
        const int64_t depth = model_->layers_[static_cast<size_t>(layer)].inputs.depth;
        const Range mine = part_of(rows, share, shares_);
        for (int64_t row = mine.first; row < mine.last; ++row) {
            const float* source = sequence(layer - 1) + row * units(*model_);
            if (layer == 0) {
                float* normed = at(share).numbers.data();
                const Norm& norm = model_->input_norm_;
                model_->activations_.layer_norm(context_ + (first * batch_ + row) * sizes.input, sizes.input,
                                                norm.weight.data(), norm.bias.data(), norm.epsilon, normed);
                source = normed;
            }
            const int64_t count = layer == 0 ? sizes.input : sizes.hidden;
            scales_[static_cast<size_t>(row)] =
                prepare(source, count, depth, codes_.data() + row * code_bytes_);
        }
    }

    void project_inputs(int64_t rows, int64_t layer, int share) {
        const PackedMatrix& matrix = model_->layers_[static_cast<size_t>(layer)].inputs;
        const auto product = is_many(rows) ? model_->format_.many : model_->format_.few;
        const Range mine = part_of(matrix.blocks, share, shares_);
        product(matrix, {codes_.data(), code_bytes_, scales_.data()}, rows, mine.first, mine.last,
                projected_.data());
    }

    void step(int64_t t, bool is_last, int64_t layer, int share, const float* before, float* after) {
        const PackedMatrix& matrix = model_->layers_[static_cast<size_t>(layer)].recurrence;
        const int64_t hidden = units(*model_), lanes = model_->packed_.lanes;
        float* states = sequence(layer) + t * batch_ * hidden;
        const float* last = t == 0 ? before : states - batch_ * hidden;
        const Range mine = part_of(matrix.blocks, share, shares_);
        multiply(matrix, last, hidden, model_->sizes_.hidden, share, products_.data());
        for (int64_t b = 0; b < batch_; ++b) {
            const int64_t gate = mine.first * 3 * lanes, unit = mine.first * lanes;
            const int64_t count = (mine.last - mine.first) * lanes;
            const float* x = projected_.data() + (t * batch_ + b) * matrix.outputs + gate;
            float* next = states + b * hidden + unit;
            model_->activations_.gates(x, products_.data() + b * matrix.outputs + gate,
                                       last + b * hidden + unit, mine.last - mine.first, next);
            if (is_last) std::copy(next, next + count, after + b * hidden + unit);
        }
    }

    // Every share makes the same codes for itself: that is quicker than to wait for another's.
    void multiply(const PackedMatrix& matrix, const float* x, int64_t stride, int64_t count, int share,
                  float* out) {
        for (int64_t b = 0; b < batch_; ++b) encode(matrix, b, x + b * stride, count, share);
        multiply_codes(matrix, share, out);
    }

    void encode(const PackedMatrix& matrix, int64_t b, const float* x, int64_t count, int share) {
        at(share).scales[static_cast<size_t>(b)] =
            model_->format_.prepare_few(x, count, matrix.depth, at(share).codes.data() + b * code_bytes_);
    }

    void multiply_codes(const PackedMatrix& matrix, int share, float* out) {
        const Range mine = part_of(matrix.blocks, share, shares_);
        model_->format_.few(matrix, {at(share).codes.data(), code_bytes_, at(share).scales.data()}, batch_,
                            mine.first, mine.last, out);
    }

    void head(int phase, int share) {
        if (phase == 0)
            return multiply(model_->keys_, final_, units(*model_), model_->sizes_.hidden, share,
                            keys_.data());
        if (phase == 1) return read_memory(share);
        if (phase == 2) return widen(share);
        multiply(model_->narrow_, wide_.data(), model_->widen_.outputs, 2 * model_->sizes_.hidden, share,
                 raw_.data());
    }

    void read_memory(int share) {
        const MemoryGruSizes& sizes = model_->sizes_;
        const PackedMatrix& matrix = model_->contents_;
        float* weights = at(share).numbers.data();
        for (int64_t b = 0; b < batch_; ++b) {
            const float* scores = key(b);
            const float scale = 1 / norm_of(scores + sizes.slots, sizes.input);
            model_->activations_.attention(scores, scale, sizes.slots, weights);
            encode(matrix, b, weights, sizes.slots, share);
        }
        multiply_codes(matrix, share, contents_.data());
        for (int64_t b = 0; b < batch_; ++b) {
            gelu(matrix, b, key(b) + sizes.slots + sizes.input, share, contents_.data());
        }
    }

    void widen(int share) {
        const PackedMatrix& matrix = model_->widen_;
        const Norm& norm = model_->fusion_norm_;
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
    void gelu(const PackedMatrix& matrix, int64_t b, const float* addend, int share, float* out) {
        const Range mine = part_of(matrix.blocks, share, shares_);
        const int64_t width = matrix.outputs / matrix.blocks, first = mine.first * width;
        model_->activations_.gelu(out + b * matrix.outputs + first, addend ? addend + first : nullptr,
                                  (mine.last - mine.first) * width);
    }

    const float* key(int64_t b) const { return keys_.data() + b * model_->keys_.outputs; }
    float* sequence(int64_t layer) { return sequences_[layer & 1].data(); }
    Scratch& at(int share) { return scratch_[static_cast<size_t>(share)]; }

    const int64_t batch_, rows_;  // rows_: vectors of a chunk
    int shares_;
    int64_t code_bytes_;
    CacheLineVector<uint8_t> codes_;  // of the inputs of a layer
    CacheLineVector<float> scales_, projected_, products_, sequences_[2];
    CacheLineVector<float> keys_, contents_, wide_, raw_;
    std::vector<Scratch> scratch_;

    // of the run
    const MemoryGru* model_ = nullptr;
    const float* context_ = nullptr;
    const float* final_ = nullptr;
    int64_t steps_ = 0, chunk_ = 0;
};

MemoryGru::MemoryGru(const MemoryGruSizes& sizes, const MemoryGruWeights& weights, Format format)
    : sizes_(sizes),
      unit_delta_(weights.unit_delta),
      packed_(kernels_in_force<PackedKernels>()),
      activations_(kernels_in_force<ActivationKernels>()),
      format_(packed_.of(format)) {
    const int64_t input = sizes.input, hidden = sizes.hidden, keys = sizes.slots + input + hidden;
    std::vector<PlainMatrix> plain;
    for (const MemoryGruWeights::Layer& layer : weights.layers) {
        const int64_t depth = plain.empty() ? input : hidden;
        plain.push_back({layer.weight_ih, layer.bias_ih, 3 * hidden, depth, true});
        plain.push_back({layer.weight_hh, layer.bias_hh, 3 * hidden, hidden, true});
    }
    plain.push_back({weights.keys, weights.keys_bias, keys, hidden, false});
    plain.push_back({weights.contents, weights.contents_bias, hidden, sizes.slots, false});
    plain.push_back({weights.widen, weights.widen_bias, 2 * hidden, hidden, false});
    plain.push_back({weights.narrow, weights.narrow_bias, input, 2 * hidden, false});

    std::vector<PackedMatrix> matrices;
    int64_t bytes = 0;
    for (const PlainMatrix& matrix : plain) {
        matrices.push_back(packed_shape(matrix, format, packed_));
        bytes += matrices.back().bytes();
    }
    memory_.reserve(bytes);
    int8_t* memory = memory_.data();
    for (size_t i = 0; i < plain.size(); ++i) {
        pack(plain[i], packed_, matrices[i], memory);
        memory += matrices[i].bytes();
    }
    const size_t layers = weights.layers.size();
    for (size_t i = 0; i < layers; ++i) layers_.push_back({matrices[2 * i], matrices[2 * i + 1]});
    keys_ = matrices[2 * layers];
    contents_ = matrices[2 * layers + 1];
    widen_ = matrices[2 * layers + 2];
    narrow_ = matrices[2 * layers + 3];

    const auto copy = [](const MemoryGruWeights::Norm& norm, int64_t count) {
        return Norm{{norm.weight, norm.weight + count}, {norm.bias, norm.bias + count}, norm.epsilon};
    };
    input_norm_ = copy(weights.input_norm, input);
    fusion_norm_ = copy(weights.fusion_norm, hidden);
}

MemoryGru::~MemoryGru() = default;

MemoryGru::States::States(const MemoryGru& model, int64_t batch) : batch_(batch) {
    const int64_t units = model.layers_[0].recurrence.outputs / 3;
    now_.resize(static_cast<size_t>(model.sizes_.layers * batch * units));
    next_.resize(now_.size());
}

void MemoryGru::States::reset() { std::fill(now_.begin(), now_.end(), 0.0f); }

bool MemoryGru::advance(const float* context, int64_t steps, States& states, float* next) const {
    const int64_t batch = states.batch_, width = sizes_.input;
    if (!all_finite(context, steps * batch * width)) return false;
    std::unique_ptr<Pass> pass;
    {
        const std::unique_lock<std::mutex> lock(spare_mutex_, std::try_to_lock);
        if (lock.owns_lock()) pass = std::move(spare_);
    }
    if (!pass || !pass->fits(*this, steps, batch)) pass = std::make_unique<Pass>(*this, steps, batch);
    pass->run(*this, context, steps, states);
    bool finite = true;
    CacheLineVector<float> delta(static_cast<size_t>(width));
    const float* current = context + (steps - 1) * batch * width;
    for (int64_t b = 0; b < batch; ++b) {
        const float* raw = pass->raw(b);
        const float length = unit_delta_ ? norm_of(raw, width) : 1;
        for (size_t i = 0; i < delta.size(); ++i) delta[i] = raw[i] / length;
        const Rows from{current + b * width, DType::float32, 1, width, width};
        const Rows step{delta.data(), DType::float32, 1, width, width};
        finite &= normalize_rows(from, &step, {next + b * width, 1, width}, kEpsilon).row < 0;
    }
    const std::unique_lock<std::mutex> lock(spare_mutex_, std::try_to_lock);
    if (lock.owns_lock()) spare_ = std::move(pass);
    return finite;
}

}  // namespace lvm

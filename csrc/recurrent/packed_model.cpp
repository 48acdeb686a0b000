#include "recurrent/packed_model.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "recurrent/packed_pass.h"
#include "rowwise/rowwise.h"

namespace lvm {
namespace {

constexpr double kEpsilon = 1e-8;  // of reconstruct

bool all_finite(const float* x, int64_t count) {
    bool finite = true;
    for (int64_t i = 0; i < count; ++i) finite &= std::fabs(x[i]) <= std::numeric_limits<float>::max();
    return finite;
}

}  // namespace

PackedModel::PackedModel(const PackedModelSizes& sizes, const PackedModelWeights& weights, Format format)
    : sizes_(sizes),
      cell_(weights.cell),
      unit_delta_(weights.unit_delta),
      packed_(kernels_in_force<PackedKernels>()),
      activations_(kernels_in_force<ActivationKernels>()),
      format_(packed_.of(format)) {
    const int64_t input = sizes.input, hidden = sizes.hidden, keys = sizes.slots + input + hidden;
    struct Place {
        PlainMatrix plain;
        PackedMatrix* packed;
    };
    std::vector<Place> places;
    const auto add = [&](const float* matrix, const float* bias, int64_t rows, int64_t depth,
                         PackedMatrix& to, int64_t gates_of_it = 0) {
        places.push_back({{matrix, bias, rows, depth, gates_of_it}, &to});
    };
    layers_.resize(weights.layers.size());
    for (size_t i = 0; i < layers_.size(); ++i) {
        const PackedModelWeights::Layer& layer = weights.layers[i];
        const int64_t depth = i == 0 && !weights.entry ? input : hidden, rows = gates() * hidden;
        add(layer.weight_ih, layer.bias_ih, rows, depth, layers_[i].inputs, gates());
        add(layer.weight_hh, layer.bias_hh, rows, hidden, layers_[i].recurrence, gates());
    }
    if (weights.entry) add(weights.entry, weights.entry_bias, hidden, input, entry_);
    if (has_memory()) {
        add(weights.keys, weights.keys_bias, keys, hidden, keys_);
        add(weights.contents, weights.contents_bias, hidden, sizes.slots, contents_);
        add(weights.widen, weights.widen_bias, 2 * hidden, hidden, widen_);
        add(weights.narrow, weights.narrow_bias, input, 2 * hidden, narrow_);
    } else {
        add(weights.output, weights.output_bias, input, hidden, output_);
    }

    int64_t bytes = 0;
    for (const Place& place : places) {
        *place.packed = packed_shape(place.plain, format, packed_);
        bytes += place.packed->bytes();
    }
    memory_.reserve(bytes);
    int8_t* memory = memory_.data();
    for (const Place& place : places) {
        pack(place.plain, packed_, *place.packed, memory);
        memory += place.packed->bytes();
    }

    const auto copy = [](const PackedModelWeights::Norm& norm, int64_t count) {
        if (!norm.weight) return Norm{};
        return Norm{{norm.weight, norm.weight + count}, {norm.bias, norm.bias + count}, norm.epsilon};
    };
    input_norm_ = copy(weights.input_norm, input);
    fusion_norm_ = copy(weights.fusion_norm, hidden);
    for (const PackedModelWeights::Norm& norm : weights.block_norms)
        block_norms_.push_back(copy(norm, hidden));
}

PackedModel::~PackedModel() = default;

PackedModel::States::States(int64_t batch, int64_t layers, int64_t units)
    : batch_(batch), layers_(layers), units_(units) {
    now_.resize(static_cast<size_t>(layers * batch * units));
    next_.resize(now_.size());
}

PackedModel::States::States(const PackedModel& model, int64_t batch)
    : States(batch, model.sizes_.layers * model.states_of_layer(), model.units()) {}

void PackedModel::States::reset() { std::fill(now_.begin(), now_.end(), 0.0f); }

void PackedModel::States::reset(const std::vector<int64_t>& rows) {
    for (int64_t layer = 0; layer < layers_; ++layer) {
        for (int64_t row : rows) std::fill_n(at(layer, row), units_, 0.0f);
    }
}

PackedModel::States PackedModel::States::taken(const std::vector<int64_t>& rows) const {
    States some(static_cast<int64_t>(rows.size()), layers_, units_);
    for (int64_t layer = 0; layer < layers_; ++layer) {
        for (int64_t i = 0; i < some.batch_; ++i) {
            std::copy_n(at(layer, rows[static_cast<size_t>(i)]), units_, some.at(layer, i));
        }
    }
    return some;
}

void PackedModel::States::put(const std::vector<int64_t>& rows, const States& from) {
    for (int64_t layer = 0; layer < layers_; ++layer) {
        for (int64_t i = 0; i < from.batch_; ++i) {
            std::copy_n(from.at(layer, i), units_, at(layer, rows[static_cast<size_t>(i)]));
        }
    }
}

bool PackedModel::advance(const float* context, int64_t steps, States& states, float* next) const {
    const int64_t batch = states.batch_, width = sizes_.input;
    if (!all_finite(context, steps * batch * width)) return false;
    std::unique_ptr<PackedPass> pass;
    {
        const std::unique_lock<std::mutex> lock(spare_mutex_, std::try_to_lock);
        if (lock.owns_lock()) pass = std::move(spare_);
    }
    if (!pass || !pass->fits(*this, steps, batch)) pass = std::make_unique<PackedPass>(*this, steps, batch);
    pass->run(*this, context, steps, states);
    bool finite = true;
    CacheLineVector<float> delta(static_cast<size_t>(width));
    const float* current = context + (steps - 1) * batch * width;
    for (int64_t b = 0; b < batch; ++b) {
        const float* raw = pass->raw(b);
        const float length = unit_delta_ ? length_of(raw, width) : 1;
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

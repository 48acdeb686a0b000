#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "array_view.h"
#include "bindings.h"
#include "recurrent/fingerprint.h"
#include "recurrent/packed_model.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

using Array = py::array_t<float, py::array::c_style>;

Format format_from(const std::string& name) {
    if (name == "float32") return Format::float32;
    if (name == "bfloat16") return Format::bfloat16;
    if (name == "int8") return Format::int8;
    throw py::value_error("PackedModel: expected float32, bfloat16 or int8 weights, got '" + name + "'");
}

const float* checked(const Array& array, const std::vector<int64_t>& shape, const std::string& name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (size_t i = 0; fits && i < shape.size(); ++i) {
        fits = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    }
    if (!fits) throw py::value_error("PackedModel: " + name + ": wrong shape");
    return array.data();
}

// Weight and bias, and where they are of a norm its epsilon.
using Pair = std::pair<Array, Array>;
using Norm = std::tuple<Array, Array, double>;

struct Memory {
    Pair keys, contents, widen, narrow;
    Norm fusion_norm;
};

Cell cell_from(const std::string& name) {
    if (name == "gru") return Cell::gru;
    if (name == "lstm") return Cell::lstm;
    throw py::value_error("PackedModel: expected the cell gru or lstm, got '" + name + "'");
}

struct Map {
    const float *weight, *bias;
};

Map checked_map(const Pair& given, int64_t rows, int64_t depth, const char* name) {
    return {checked(given.first, {rows, depth}, name), checked(given.second, {rows}, name)};
}

PackedModelWeights::Norm checked_norm(const Norm& given, int64_t count, const char* name) {
    const auto& [weight, bias, epsilon] = given;
    return {checked(weight, {count}, name), checked(bias, {count}, name), static_cast<float>(epsilon)};
}

std::shared_ptr<PackedModel> make(const std::string& weights, const std::string& cell, int64_t input,
                                  const std::vector<std::array<Array, 4>>& layers,
                                  const std::optional<Norm>& input_norm, const std::optional<Pair>& entry,
                                  const std::vector<Norm>& block_norms, const std::optional<Pair>& output,
                                  const std::optional<Memory>& memory, bool unit_delta) {
    const Format format = format_from(weights);
    if (layers.empty() || layers[0][1].ndim() != 2) throw py::value_error("PackedModel: no layers");
    if (output.has_value() == memory.has_value()) {
        throw py::value_error("PackedModel: expected either an output map or a memory");
    }
    if (!block_norms.empty() && (block_norms.size() != layers.size() || !entry)) {
        throw py::value_error("PackedModel: block_norms: expected one a layer, and an entry map");
    }
    PackedModelWeights plain{};
    plain.cell = cell_from(cell);
    const int64_t hidden = layers[0][1].shape(1), wide = (plain.cell == Cell::gru ? 3 : 4) * hidden;
    for (const auto& [weight_ih, weight_hh, bias_ih, bias_hh] : layers) {
        const int64_t width = plain.layers.empty() && !entry ? input : hidden;
        plain.layers.push_back({checked(weight_ih, {wide, width}, "weight_ih"),
                                checked(weight_hh, {wide, hidden}, "weight_hh"),
                                checked(bias_ih, {wide}, "bias_ih"), checked(bias_hh, {wide}, "bias_hh")});
    }
    if (input_norm) plain.input_norm = checked_norm(*input_norm, input, "input_norm");
    if (entry) {
        const Map map = checked_map(*entry, hidden, input, "entry");
        plain.entry = map.weight;
        plain.entry_bias = map.bias;
    }
    for (const Norm& norm : block_norms) {
        plain.block_norms.push_back(checked_norm(norm, hidden, "block_norms"));
    }
    if (output) {
        const Map map = checked_map(*output, input, hidden, "output");
        plain.output = map.weight;
        plain.output_bias = map.bias;
    }
    int64_t slots = 0;
    if (memory) {
        if (memory->contents.first.ndim() != 2 || memory->contents.first.shape(1) == 0) {
            throw py::value_error("PackedModel: contents: no slots");
        }
        slots = memory->contents.first.shape(1);
        const Map keys = checked_map(memory->keys, slots + input + hidden, hidden, "keys");
        const Map contents = checked_map(memory->contents, hidden, slots, "contents");
        const Map widen = checked_map(memory->widen, 2 * hidden, hidden, "widen");
        const Map narrow = checked_map(memory->narrow, input, 2 * hidden, "narrow");
        plain.keys = keys.weight;
        plain.keys_bias = keys.bias;
        plain.contents = contents.weight;
        plain.contents_bias = contents.bias;
        plain.widen = widen.weight;
        plain.widen_bias = widen.bias;
        plain.narrow = narrow.weight;
        plain.narrow_bias = narrow.bias;
        plain.fusion_norm = checked_norm(memory->fusion_norm, hidden, "fusion_norm");
    }
    plain.unit_delta = unit_delta;
    const PackedModelSizes sizes{input, hidden, static_cast<int64_t>(layers.size()), slots};
    const WithoutGil released;
    return std::make_shared<PackedModel>(sizes, plain, format);
}

uint64_t fingerprint_of(const std::vector<ArrayView>& memory) {
    std::vector<Span> spans;
    for (const ArrayView& array : memory) {
        if (!array.is_contiguous()) {
            throw py::value_error("fingerprint: memory: expected contiguous arrays, got " +
                                  array.described());
        }
        spans.push_back({static_cast<const uint8_t*>(array.data()), array.bytes()});
    }
    const py::gil_scoped_release release;
    return fingerprint(spans);
}

// The states of sequences together with the model that they belong to.
class Stream {
  public:
    using Rows = std::optional<std::vector<int64_t>>;

    Stream(std::shared_ptr<const PackedModel> model, int64_t batch)
        : model_(std::move(model)), states_(*model_, batch) {}

    void reset(const Rows& rows) {
        if (!rows) return states_.reset();
        check(*rows);
        states_.reset(*rows);
    }

    // Another stream that goes on from here, with the same model.
    std::unique_ptr<Stream> copy() const { return std::make_unique<Stream>(*this); }

    std::optional<Array> advance(const Array& context, const Rows& rows) {
        if (!rows) return advance_states(context, states_);
        check(*rows);
        PackedModel::States some = states_.taken(*rows);
        std::optional<Array> next = advance_states(context, some);
        states_.put(*rows, some);
        return next;
    }

  private:
    // Different sequences of these.
    void check(const std::vector<int64_t>& rows) const {
        std::vector<bool> seen(static_cast<size_t>(states_.batch()));
        if (rows.empty()) throw py::value_error("PackedModel: rows: expected at least one");
        for (int64_t row : rows) {
            if (row < 0 || row >= states_.batch() || seen[static_cast<size_t>(row)]) {
                throw py::value_error("PackedModel: rows: expected different numbers from 0 to " +
                                      std::to_string(states_.batch() - 1) + ", got " + std::to_string(row));
            }
            seen[static_cast<size_t>(row)] = true;
        }
    }

    std::optional<Array> advance_states(const Array& context, PackedModel::States& states) const {
        const int64_t steps = context.ndim() == 3 ? context.shape(0) : 0, width = model_->sizes().input;
        checked(context, {steps, states.batch(), width}, "context");
        if (steps == 0) throw py::value_error("PackedModel: context: expected a step");
        Array next({states.batch(), width});
        float* result = next.mutable_data();
        const float* vectors = context.data();
        bool finite = false;
        {
            const WithoutGil released;
            finite = model_->advance(vectors, steps, states, result);
        }
        if (!finite) return std::nullopt;
        return next;
    }

    std::shared_ptr<const PackedModel> model_;
    PackedModel::States states_;
};

}  // namespace

void bind_recurrent_packed_model(py::module_& module) {
    py::class_<Memory>(module, "PackedMemory", "What a memory GRU makes of its last state; see PackedModel.")
        .def(py::init([](Pair keys, Pair contents, Norm fusion_norm, Pair widen, Pair narrow) {
                 return Memory{std::move(keys), std::move(contents), std::move(widen), std::move(narrow),
                               std::move(fusion_norm)};
             }),
             py::kw_only(), py::arg("keys"), py::arg("contents"), py::arg("fusion_norm"), py::arg("widen"),
             py::arg("narrow"));
    py::class_<PackedModel, std::shared_ptr<PackedModel>>(
        module, "PackedModel",
        "A packed recurrent model; see csrc/recurrent/packed_model.h and lvm_fast.inference.packed.")
        .def(py::init(&make), py::kw_only(), py::arg("weights"), py::arg("cell"), py::arg("input"),
             py::arg("layers"), py::arg("input_norm") = py::none(), py::arg("entry") = py::none(),
             py::arg("block_norms") = std::vector<Norm>(), py::arg("output") = py::none(),
             py::arg("memory") = py::none(), py::arg("unit_delta"));
    py::class_<Stream>(module, "PackedModelStream", "The states of B sequences in a packed model.")
        .def(py::init([](std::shared_ptr<PackedModel> model, int64_t batch) {
                 if (batch < 1) throw py::value_error("PackedModelStream: expected at least one sequence");
                 return std::make_unique<Stream>(std::move(model), batch);
             }),
             py::arg("model"), py::arg("batch"))
        .def("reset", &Stream::reset, py::arg("rows") = py::none(),
             "Forget what was read, by these sequences or by all.")
        .def("copy", &Stream::copy, "Another stream that goes on from here, with the same model.")
        .def("advance", &Stream::advance, py::arg("context"), py::arg("rows") = py::none(),
             "Take the steps of context (N, B, D), float32, and predict the unit vectors (B, D) that come "
             "next: of all sequences, or of these. "
             "None if a number of either is NaN or infinite; the states moved on only if it is a "
             "prediction's.");
    module.def("fingerprint", &fingerprint_of, py::arg("memory"),
               "64 bits over the bytes of contiguous arrays, in order; see "
               "csrc/recurrent/fingerprint.h.");
}

}  // namespace lvm::python

#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "array_view.h"
#include "bindings.h"
#include "recurrent/fingerprint.h"
#include "recurrent/memory_gru.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

using Array = py::array_t<float, py::array::c_style>;

Format format_from(const std::string& name) {
    if (name == "float32") return Format::float32;
    if (name == "bfloat16") return Format::bfloat16;
    if (name == "int8") return Format::int8;
    throw py::value_error("MemoryGru: expected float32, bfloat16 or int8 weights, got '" + name + "'");
}

const float* checked(const Array& array, const std::vector<int64_t>& shape, const std::string& name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (size_t i = 0; fits && i < shape.size(); ++i) {
        fits = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    }
    if (!fits) throw py::value_error("MemoryGru: " + name + ": wrong shape");
    return array.data();
}

// Weight and bias.
using Pair = std::pair<Array, Array>;

std::shared_ptr<MemoryGru> make(const std::string& weights, const std::vector<std::array<Array, 4>>& layers,
                                const Pair& input_norm, double input_epsilon, const Pair& keys,
                                const Pair& contents, const Pair& fusion_norm, double fusion_epsilon,
                                const Pair& widen, const Pair& narrow, bool unit_delta) {
    const Format format = format_from(weights);
    if (layers.empty() || contents.first.ndim() != 2)
        throw py::value_error("MemoryGru: no layers, or no slots");
    const int64_t input = input_norm.first.size(), hidden = contents.first.shape(0);
    const int64_t slots = contents.first.shape(1), keys_rows = slots + input + hidden;
    const auto pair = [](const Pair& given, std::vector<int64_t> shape, const char* name) {
        checked(given.second, {shape[0]}, name);
        return checked(given.first, shape, name);
    };
    MemoryGruWeights plain{};
    for (const auto& [weight_ih, weight_hh, bias_ih, bias_hh] : layers) {
        const int64_t width = plain.layers.empty() ? input : hidden;
        plain.layers.push_back({checked(weight_ih, {3 * hidden, width}, "weight_ih"),
                                checked(weight_hh, {3 * hidden, hidden}, "weight_hh"),
                                checked(bias_ih, {3 * hidden}, "bias_ih"),
                                checked(bias_hh, {3 * hidden}, "bias_hh")});
    }
    plain.input_norm = {pair(input_norm, {input}, "input_norm"), input_norm.second.data(),
                        static_cast<float>(input_epsilon)};
    plain.fusion_norm = {pair(fusion_norm, {hidden}, "fusion_norm"), fusion_norm.second.data(),
                         static_cast<float>(fusion_epsilon)};
    plain.keys = pair(keys, {keys_rows, hidden}, "keys");
    plain.keys_bias = keys.second.data();
    plain.contents = pair(contents, {hidden, slots}, "contents");
    plain.contents_bias = contents.second.data();
    plain.widen = pair(widen, {2 * hidden, hidden}, "widen");
    plain.widen_bias = widen.second.data();
    plain.narrow = pair(narrow, {input, 2 * hidden}, "narrow");
    plain.narrow_bias = narrow.second.data();
    plain.unit_delta = unit_delta;
    const MemoryGruSizes sizes{input, hidden, static_cast<int64_t>(layers.size()), slots};
    const WithoutGil released;
    return std::make_shared<MemoryGru>(sizes, plain, format);
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

// Hidden states together with the model that they belong to.
class Stream {
  public:
    Stream(std::shared_ptr<const MemoryGru> model, int64_t batch)
        : model_(std::move(model)), states_(*model_, batch) {}

    void reset() { states_.reset(); }

    // Another stream that goes on from here, with the same model.
    std::unique_ptr<Stream> copy() const { return std::make_unique<Stream>(*this); }

    std::optional<Array> advance(const Array& context) {
        const int64_t steps = context.ndim() == 3 ? context.shape(0) : 0, width = model_->sizes().input;
        checked(context, {steps, states_.batch(), width}, "context");
        if (steps == 0) throw py::value_error("MemoryGru: context: expected a step");
        Array next({states_.batch(), width});
        float* result = next.mutable_data();
        const float* vectors = context.data();
        bool finite = false;
        {
            const WithoutGil released;
            finite = model_->advance(vectors, steps, states_, result);
        }
        if (!finite) return std::nullopt;
        return next;
    }

  private:
    std::shared_ptr<const MemoryGru> model_;
    MemoryGru::States states_;
};

}  // namespace

void bind_recurrent_memory_gru(py::module_& module) {
    py::class_<MemoryGru, std::shared_ptr<MemoryGru>>(
        module, "MemoryGru",
        "A packed memory GRU; see csrc/recurrent/memory_gru.h and lvm_fast.inference.packed.")
        .def(py::init(&make), py::kw_only(), py::arg("weights"), py::arg("layers"), py::arg("input_norm"),
             py::arg("input_epsilon"), py::arg("keys"), py::arg("contents"), py::arg("fusion_norm"),
             py::arg("fusion_epsilon"), py::arg("widen"), py::arg("narrow"), py::arg("unit_delta"));
    py::class_<Stream>(module, "MemoryGruStream", "The hidden states of B sequences in a packed memory GRU.")
        .def(py::init([](std::shared_ptr<MemoryGru> model, int64_t batch) {
                 if (batch < 1) throw py::value_error("MemoryGruStream: expected at least one sequence");
                 return std::make_unique<Stream>(std::move(model), batch);
             }),
             py::arg("model"), py::arg("batch"))
        .def("reset", &Stream::reset)
        .def("copy", &Stream::copy, "Another stream that goes on from here, with the same model.")
        .def("advance", &Stream::advance, py::arg("context"),
             "Take the steps of context (N, B, D), float32, and predict the unit vectors (B, D) that come "
             "next. "
             "None if a number of either is NaN or infinite; the states moved on only if it is a "
             "prediction's.");
    module.def("fingerprint", &fingerprint_of, py::arg("memory"),
               "64 bits over the bytes of contiguous arrays, in order; see "
               "csrc/recurrent/fingerprint.h.");
}

}  // namespace lvm::python

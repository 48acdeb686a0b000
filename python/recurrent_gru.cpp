#include <pybind11/stl.h>

#include <optional>

#include "array_view.h"
#include "bindings.h"
#include "recurrent/gru.h"
#include "recurrent/gru_bf16.h"
#include "recurrent_shapes.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

void forward(const ArrayView& inputs, const ArrayView& weight, const ArrayView& bias, const ArrayView& states,
             const ArrayView& gates, const ArrayView& candidates, const Lengths& lengths, bool reverse) {
    const int64_t hidden = hidden_of(weight, "weight"), wide = 3 * hidden;
    const RecurrentShape shape = shape_of(inputs, hidden, lengths, "inputs", reverse);
    const int64_t steps = shape.steps, batch = shape.batch;
    const GruForward arrays{inputs.numbers<float>("inputs", {steps, batch, wide}),
                            weight.numbers<float>("weight", {wide, hidden}),
                            bias.numbers<float>("bias", {wide}),
                            states.numbers<float>("states", {steps + 1, batch, hidden}),
                            gates.numbers<float>("gates", {steps, batch, wide}),
                            candidates.numbers<float>("candidates", {steps, batch, hidden})};
    const WithoutGil released;
    gru_forward(shape, arrays);
}

void backward(const ArrayView& grad_states, const ArrayView& weight, const ArrayView& states,
              const ArrayView& gates, const ArrayView& candidates, const ArrayView& grad_inputs,
              const ArrayView& grad_products, const ArrayView& grad_initial, const Lengths& lengths,
              bool reverse) {
    const int64_t hidden = hidden_of(weight, "weight"), wide = 3 * hidden;
    const RecurrentShape shape = shape_of(grad_states, hidden, lengths, "grad_states", reverse);
    const int64_t steps = shape.steps, batch = shape.batch;
    const GruBackward arrays{grad_states.numbers<float>("grad_states", {steps, batch, hidden}),
                             weight.numbers<float>("weight", {wide, hidden}),
                             states.numbers<float>("states", {steps + 1, batch, hidden}),
                             gates.numbers<float>("gates", {steps, batch, wide}),
                             candidates.numbers<float>("candidates", {steps, batch, hidden}),
                             grad_inputs.numbers<float>("grad_inputs", {steps, batch, wide}),
                             grad_products.numbers<float>("grad_products", {steps, batch, wide}),
                             grad_initial.numbers<float>("grad_initial", {batch, hidden})};
    const WithoutGil released;
    gru_backward(shape, arrays);
}

// Vectors (N, B, `width`), float32 or bfloat16, each of them dense.
StepVectors step_vectors(const ArrayView& vectors, const RecurrentShape& shape, int64_t width,
                         const char* name) {
    const bool is_bf16 = vectors.type() == ElementType::bfloat16;
    if (is_bf16) {
        vectors.rows<BF16>(name, {shape.steps, shape.batch, width});
    } else {
        vectors.rows<float>(name, {shape.steps, shape.batch, width});
    }
    return {vectors.data(), is_bf16, vectors.stride(0), vectors.stride(1)};
}

Bf16GruWeights bf16_weights(const ArrayView& weight_ih, const ArrayView& weight_hh, int64_t hidden,
                            int64_t inputs) {
    return {weight_ih.rows<float>("weight_ih", {3 * hidden, inputs}),
            weight_hh.numbers<float>("weight_hh", {3 * hidden, hidden}), inputs, weight_ih.stride(0)};
}

void bf16_forward(const ArrayView& inputs, const ArrayView& weight_ih, const ArrayView& weight_hh,
                  const ArrayView& bias_ih, const ArrayView& bias_hh, const ArrayView& initial,
                  const ArrayView& states, const ArrayView& final, const ArrayView& gates,
                  const ArrayView& candidates, const Lengths& lengths) {
    const int64_t hidden = hidden_of(weight_hh, "weight_hh"), padded = padded_to_tiles(hidden);
    const RecurrentShape shape = shape_of(inputs, hidden, lengths, "inputs");
    const int64_t batch = shape.batch, rows = shape.steps * batch, width = inputs.size(2);
    const Bf16GruForward arrays{step_vectors(inputs, shape, width, "inputs"),
                                bf16_weights(weight_ih, weight_hh, hidden, width),
                                bias_ih.numbers<float>("bias_ih", {3 * hidden}),
                                bias_hh.numbers<float>("bias_hh", {3 * hidden}),
                                initial.numbers<float>("initial", {batch, hidden}),
                                states.numbers<BF16>("states", {shape.steps + 1, batch, padded}),
                                final.numbers<float>("final", {batch, padded}),
                                gates.numbers<BF16>("gates", {rows, 3 * padded}),
                                candidates.numbers<BF16>("candidates", {rows, padded})};
    const WithoutGil released;
    gru_bf16_forward(shape, arrays);
}

void bf16_backward(const ArrayView& inputs, const ArrayView& weight_ih, const ArrayView& weight_hh,
                   const ArrayView& states, const ArrayView& gates, const ArrayView& candidates,
                   const std::optional<ArrayView>& grad_states, const ArrayView& grad_final,
                   const std::optional<ArrayView>& grad_inputs, const ArrayView& grad_weight_ih,
                   const ArrayView& grad_weight_hh, const ArrayView& grad_bias_ih,
                   const ArrayView& grad_bias_hh, const ArrayView& grad_initial, const Lengths& lengths) {
    const int64_t hidden = hidden_of(weight_hh, "weight_hh"), padded = padded_to_tiles(hidden);
    const RecurrentShape shape = shape_of(inputs, hidden, lengths, "inputs");
    const int64_t steps = shape.steps, batch = shape.batch, rows = steps * batch, width = inputs.size(2);
    const int64_t wide = padded_to_tiles(width);
    StepVectors to_inputs{nullptr, false, 0, 0};
    if (grad_inputs) to_inputs = step_vectors(*grad_inputs, shape, wide, "grad_inputs");
    const Bf16GruBackward arrays{
        step_vectors(inputs, shape, width, "inputs"),
        bf16_weights(weight_ih, weight_hh, hidden, width),
        states.numbers<BF16>("states", {steps + 1, batch, padded}),
        gates.numbers<BF16>("gates", {rows, 3 * padded}),
        candidates.numbers<BF16>("candidates", {rows, padded}),
        grad_states ? grad_states->numbers<BF16>("grad_states", {steps + 1, batch, padded}) : nullptr,
        grad_final.numbers<float>("grad_final", {batch, padded}),
        to_inputs,
        grad_weight_ih.numbers<float>("grad_weight_ih", {3, padded, wide}),
        grad_weight_hh.numbers<float>("grad_weight_hh", {3, padded, padded}),
        grad_bias_ih.numbers<float>("grad_bias_ih", {3, padded}),
        grad_bias_hh.numbers<float>("grad_bias_hh", {3, padded}),
        grad_initial.numbers<float>("grad_initial", {batch, padded})};
    const WithoutGil released;
    gru_bf16_backward(shape, arrays);
}

}  // namespace

void bind_recurrent_gru(py::module_& module) {
    module.def(
        "gru_forward", &forward, py::arg("inputs"), py::arg("weight"), py::arg("bias"), py::arg("states"),
        py::arg("gates"), py::arg("candidates"), py::arg("lengths"), py::arg("reverse") = false,
        "The recurrence of one GRU layer over contiguous arrays, float32 (lengths: int64, or None); see "
        "csrc/recurrent/gru.h.");
    module.def("gru_backward", &backward, py::arg("grad_states"), py::arg("weight"), py::arg("states"),
               py::arg("gates"), py::arg("candidates"), py::arg("grad_inputs"), py::arg("grad_products"),
               py::arg("grad_initial"), py::arg("lengths"), py::arg("reverse") = false,
               "Its gradient through time; see csrc/recurrent/gru.h.");
    module.def("has_bf16_gru", &has_bf16_gru, "Whether the level in force can run the bfloat16 GRU.");
    module.def(
        "gru_bf16_forward", &bf16_forward, py::kw_only(), py::arg("inputs"), py::arg("weight_ih"),
        py::arg("weight_hh"), py::arg("bias_ih"), py::arg("bias_hh"), py::arg("initial"), py::arg("states"),
        py::arg("final"), py::arg("gates"), py::arg("candidates"), py::arg("lengths"),
        "One GRU layer in bfloat16 over contiguous arrays (inputs and weight_ih: dense rows, anywhere); see "
        "csrc/recurrent/gru_bf16.h.");
    module.def("gru_bf16_backward", &bf16_backward, py::kw_only(), py::arg("inputs"), py::arg("weight_ih"),
               py::arg("weight_hh"), py::arg("states"), py::arg("gates"), py::arg("candidates"),
               py::arg("grad_states"), py::arg("grad_final"), py::arg("grad_inputs"),
               py::arg("grad_weight_ih"), py::arg("grad_weight_hh"), py::arg("grad_bias_ih"),
               py::arg("grad_bias_hh"), py::arg("grad_initial"), py::arg("lengths"),
               "Its gradients; see csrc/recurrent/gru_bf16.h.");
}

}  // namespace lvm::python

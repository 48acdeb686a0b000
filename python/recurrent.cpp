#include <pybind11/stl.h>

#include <tuple>

#include "bindings.h"
#include "recurrent/gru.h"
#include "recurrent/gru_bf16.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

template <class T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void forward(int64_t steps, int64_t batch, int64_t hidden, uintptr_t inputs, uintptr_t weight, uintptr_t bias,
             uintptr_t states, uintptr_t gates, uintptr_t candidates, uintptr_t lengths) {
    const WithoutGil released;
    gru_forward({steps, batch, hidden, at<const int64_t>(lengths)},
                {at<const float>(inputs), at<const float>(weight), at<const float>(bias), at<float>(states),
                 at<float>(gates), at<float>(candidates)});
}

void backward(int64_t steps, int64_t batch, int64_t hidden, uintptr_t grad_states, uintptr_t weight,
              uintptr_t states, uintptr_t gates, uintptr_t candidates, uintptr_t grad_inputs,
              uintptr_t grad_products, uintptr_t grad_initial, uintptr_t lengths) {
    const WithoutGil released;
    gru_backward({steps, batch, hidden, at<const int64_t>(lengths)},
                 {at<const float>(grad_states), at<const float>(weight), at<const float>(states),
                  at<const float>(gates), at<const float>(candidates), at<float>(grad_inputs),
                  at<float>(grad_products), at<float>(grad_initial)});
}

// Address, whether bfloat16, numbers from a step and from a sequence to the next.
using Vectors = std::tuple<uintptr_t, bool, int64_t, int64_t>;

StepVectors step_vectors(const Vectors& vectors) {
    const auto [data, is_bf16, step_stride, sequence_stride] = vectors;
    return {at<const void>(data), is_bf16, step_stride, sequence_stride};
}

// Addresses of weight_ih and weight_hh, I, and the stride of weight_ih.
using Weights = std::tuple<uintptr_t, uintptr_t, int64_t, int64_t>;

Bf16GruWeights bf16_weights(const Weights& weights) {
    const auto [input, recurrent, inputs, stride] = weights;
    return {at<const float>(input), at<const float>(recurrent), inputs, stride};
}

void bf16_forward(int64_t steps, int64_t batch, int64_t hidden, const Vectors& inputs, const Weights& weights,
                  uintptr_t input_bias, uintptr_t recurrent_bias, uintptr_t initial, uintptr_t states,
                  uintptr_t final, uintptr_t gates, uintptr_t candidates, uintptr_t lengths) {
    const WithoutGil released;
    gru_bf16_forward({steps, batch, hidden, at<const int64_t>(lengths)},
                     {step_vectors(inputs), bf16_weights(weights), at<const float>(input_bias),
                      at<const float>(recurrent_bias), at<const float>(initial), at<BF16>(states),
                      at<float>(final), at<BF16>(gates), at<BF16>(candidates)});
}

void bf16_backward(int64_t steps, int64_t batch, int64_t hidden, const Vectors& inputs,
                   const Weights& weights, uintptr_t states, uintptr_t gates, uintptr_t candidates,
                   uintptr_t grad_states, uintptr_t grad_final, const Vectors& grad_inputs,
                   uintptr_t grad_input, uintptr_t grad_recurrent, uintptr_t grad_input_bias,
                   uintptr_t grad_recurrent_bias, uintptr_t grad_initial, uintptr_t lengths) {
    const WithoutGil released;
    gru_bf16_backward(
        {steps, batch, hidden, at<const int64_t>(lengths)},
        {step_vectors(inputs), bf16_weights(weights), at<const BF16>(states), at<const BF16>(gates),
         at<const BF16>(candidates), at<const BF16>(grad_states), at<const float>(grad_final),
         step_vectors(grad_inputs), at<float>(grad_input), at<float>(grad_recurrent),
         at<float>(grad_input_bias), at<float>(grad_recurrent_bias), at<float>(grad_initial)});
}

}  // namespace

void bind_recurrent(py::module_& module) {
    module.def("gru_forward", &forward, py::arg("steps"), py::arg("batch"), py::arg("hidden"),
               py::arg("inputs"), py::arg("weight"), py::arg("bias"), py::arg("states"), py::arg("gates"),
               py::arg("candidates"), py::arg("lengths"),
               "The recurrence of one GRU layer over contiguous float32 arrays at these addresses (lengths: "
               "int64, or 0); see "
               "csrc/recurrent/gru.h.");
    module.def("gru_backward", &backward, py::arg("steps"), py::arg("batch"), py::arg("hidden"),
               py::arg("grad_states"), py::arg("weight"), py::arg("states"), py::arg("gates"),
               py::arg("candidates"), py::arg("grad_inputs"), py::arg("grad_products"),
               py::arg("grad_initial"), py::arg("lengths"),
               "Its gradient through time; see csrc/recurrent/gru.h.");
    module.def("has_half_gru", &has_bf16_gru, "Whether the level in force can run the bfloat16 GRU.");
    module.def("gru_half_forward", &bf16_forward, py::arg("steps"), py::arg("batch"), py::arg("hidden"),
               py::arg("inputs"), py::arg("weights"), py::arg("input_bias"), py::arg("recurrent_bias"),
               py::arg("initial"), py::arg("states"), py::arg("final"), py::arg("gates"),
               py::arg("candidates"), py::arg("lengths"),
               "One GRU layer in bfloat16 over arrays at these addresses; see csrc/recurrent/gru_bf16.h.");
    module.def("gru_half_backward", &bf16_backward, py::arg("steps"), py::arg("batch"), py::arg("hidden"),
               py::arg("inputs"), py::arg("weights"), py::arg("states"), py::arg("gates"),
               py::arg("candidates"), py::arg("grad_states"), py::arg("grad_final"), py::arg("grad_inputs"),
               py::arg("grad_input"), py::arg("grad_recurrent"), py::arg("grad_input_bias"),
               py::arg("grad_recurrent_bias"), py::arg("grad_initial"), py::arg("lengths"),
               "Its gradients; see csrc/recurrent/gru_bf16.h.");
}

}  // namespace lvm::python

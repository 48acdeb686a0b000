#include <pybind11/stl.h>

#include <optional>

#include "array_view.h"
#include "bindings.h"
#include "recurrent/lstm.h"
#include "recurrent_shapes.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

void forward(const ArrayView& weight, const ArrayView& gates, const ArrayView& states, const ArrayView& cells,
             const Lengths& lengths, bool reverse) {
    const int64_t hidden = hidden_of(weight, "weight"), wide = 4 * hidden;
    const RecurrentShape shape = shape_of(gates, hidden, lengths, "gates", reverse);
    const int64_t steps = shape.steps, batch = shape.batch;
    const LstmForward arrays{weight.numbers<float>("weight", {wide, hidden}),
                             gates.numbers<float>("gates", {steps, batch, wide}),
                             states.numbers<float>("states", {steps + 1, batch, hidden}),
                             cells.numbers<float>("cells", {steps + 1, batch, hidden})};
    const WithoutGil released;
    lstm_forward(shape, arrays);
}

void backward(const std::optional<ArrayView>& grad_states, const ArrayView& weight, const ArrayView& gates,
              const ArrayView& cells, const ArrayView& grad_gates, const ArrayView& grad_state,
              const ArrayView& grad_cell, const Lengths& lengths, bool reverse) {
    const int64_t hidden = hidden_of(weight, "weight"), wide = 4 * hidden;
    const RecurrentShape shape = shape_of(gates, hidden, lengths, "gates", reverse);
    const int64_t steps = shape.steps, batch = shape.batch;
    const LstmBackward arrays{
        grad_states ? grad_states->numbers<float>("grad_states", {steps, batch, hidden}) : nullptr,
        weight.numbers<float>("weight", {wide, hidden}),
        gates.numbers<float>("gates", {steps, batch, wide}),
        cells.numbers<float>("cells", {steps + 1, batch, hidden}),
        grad_gates.numbers<float>("grad_gates", {steps, batch, wide}),
        grad_state.numbers<float>("grad_state", {batch, hidden}),
        grad_cell.numbers<float>("grad_cell", {batch, hidden})};
    const WithoutGil released;
    lstm_backward(shape, arrays);
}

}  // namespace

void bind_recurrent_lstm(py::module_& module) {
    module.def(
        "lstm_forward", &forward, py::arg("weight"), py::arg("gates"), py::arg("states"), py::arg("cells"),
        py::arg("lengths"), py::arg("reverse") = false,
        "The recurrence of one LSTM layer over contiguous arrays, float32 (lengths: int64, or None); see "
        "csrc/recurrent/lstm.h.");
    module.def("lstm_backward", &backward, py::arg("grad_states"), py::arg("weight"), py::arg("gates"),
               py::arg("cells"), py::arg("grad_gates"), py::arg("grad_state"), py::arg("grad_cell"),
               py::arg("lengths"), py::arg("reverse") = false,
               "Its gradient through time; see csrc/recurrent/lstm.h.");
}

}  // namespace lvm::python

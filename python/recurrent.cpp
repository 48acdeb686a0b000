#include "bindings.h"
#include "recurrent/gru.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

template <class T>
T* at(uintptr_t address) {
    return reinterpret_cast<T*>(address);
}

void forward(int64_t steps, int64_t batch, int64_t hidden, uintptr_t inputs, uintptr_t weight, uintptr_t bias,
             uintptr_t states, uintptr_t gates, uintptr_t candidates, uintptr_t lengths) {
    const py::gil_scoped_release release;
    gru_forward({steps, batch, hidden, at<const int64_t>(lengths)},
                {at<const float>(inputs), at<const float>(weight), at<const float>(bias), at<float>(states),
                 at<float>(gates), at<float>(candidates)});
}

void backward(int64_t steps, int64_t batch, int64_t hidden, uintptr_t grad_states, uintptr_t weight,
              uintptr_t states, uintptr_t gates, uintptr_t candidates, uintptr_t grad_inputs,
              uintptr_t grad_products, uintptr_t grad_initial, uintptr_t lengths) {
    const py::gil_scoped_release release;
    gru_backward({steps, batch, hidden, at<const int64_t>(lengths)},
                 {at<const float>(grad_states), at<const float>(weight), at<const float>(states),
                  at<const float>(gates), at<const float>(candidates), at<float>(grad_inputs),
                  at<float>(grad_products), at<float>(grad_initial)});
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
}

}  // namespace lvm::python

#include <string>

#include "bindings.h"
#include "core/views.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

DType dtype_from(const std::string& name) {
    if (name == "float32") return DType::float32;
    if (name == "float16") return DType::float16;
    if (name == "bfloat16") return DType::bfloat16;
    if (name == "float64") return DType::float64;
    if (name == "int8") return DType::int8;
    throw py::value_error("Rows: expected float32, float16, bfloat16, float64 or int8, got '" + name + "'");
}

}  // namespace

void bind_rows(py::module_& module) {
    py::class_<Rows>(
        module, "Rows",
        "A read-only (rows, dim) matrix at an address; row i starts i * stride elements after it. "
        "Does not keep the memory alive: the caller does. "
        "int8 rows need `scales`, the address of one float32 a row.")
        .def(py::init([](uintptr_t address, const std::string& dtype, int64_t rows, int64_t dim,
                         int64_t stride, uintptr_t scales) {
                 const DType type = dtype_from(dtype);
                 if (rows < 0 || dim < 0) throw py::value_error("Rows: expected non-negative sizes");
                 if (address == 0 && rows > 0 && dim > 0) {
                     throw py::value_error("Rows: expected an array that holds its numbers, got one without");
                 }
                 if ((type == DType::int8) != (scales != 0)) {
                     throw py::value_error("Rows: int8 rows, and only they, come with scales");
                 }
                 return Rows{reinterpret_cast<const void*>(address), type, rows, dim, stride,
                             reinterpret_cast<const float*>(scales)};
             }),
             py::arg("address"), py::arg("dtype"), py::arg("rows"), py::arg("dim"), py::arg("stride"),
             py::arg("scales") = 0)
        .def_readonly("rows", &Rows::rows)
        .def_readonly("dim", &Rows::dim);
}

}  // namespace lvm::python

#include <pybind11/stl.h>

#include <optional>
#include <string>

#include "array_view.h"
#include "bindings.h"
#include "core/views.h"
#include "held_rows.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

DType format_of(const ArrayView& array, bool bits_of_bf16) {
    switch (array.type()) {
        case ElementType::float32:
            return DType::float32;
        case ElementType::float16:
            return DType::float16;
        case ElementType::bfloat16:
            return DType::bfloat16;
        case ElementType::float64:
            return DType::float64;
        case ElementType::int8:
            return DType::int8;
        case ElementType::uint16:
            if (bits_of_bf16) return DType::bfloat16;
            [[fallthrough]];
        default:
            throw py::value_error("Rows: expected float32, float16, bfloat16, float64 or int8, got " +
                                  array.described());
    }
}

HeldRows make(const py::object& array, const std::optional<py::object>& scales, bool bits_of_bf16) {
    ArrayView view;
    if (!view.read(array)) throw py::type_error("Rows: expected a torch tensor or a numpy array");
    const bool is_flat = view.dims() == 2 || (view.dims() > 0 && view.is_contiguous());
    if (!is_flat || !view.has_dense_rows()) {
        throw py::value_error("Rows: expected rows (rows, dim) of numbers side by side, got " +
                              view.described());
    }
    HeldRows rows;
    rows.data = view.data();
    rows.dtype = format_of(view, bits_of_bf16);
    rows.dim = view.size(view.dims() - 1);
    rows.rows = view.dims() == 2 ? view.size(0) : view.count() / (rows.dim ? rows.dim : 1);
    rows.stride = view.dims() == 2 && view.size(0) > 1 ? view.stride(0) : rows.dim;
    rows.memory = array;
    if ((rows.dtype == DType::int8) != scales.has_value()) {
        throw py::value_error("Rows: int8 rows, and only they, come with scales");
    }
    if (scales) {
        ArrayView numbers;
        if (!numbers.read(*scales))
            throw py::type_error("Rows: scales: expected a torch tensor or a numpy array");
        rows.scales = numbers.numbers<float>("Rows: scales", {rows.rows});
        rows.scales_memory = *scales;
    }
    return rows;
}

}  // namespace

void bind_core(py::module_& module) {
    py::class_<HeldRows>(
        module, "Rows",
        "A read-only (rows, dim) matrix: a tensor or an array of shape (..., D), dense along its rows, which "
        "it keeps alive. int8 rows need `scales`, one float32 a row; uint16 rows are taken for the bits of "
        "bfloat16 numbers if `bits_of_bf16`.")
        .def(py::init(&make), py::arg("array"), py::arg("scales") = py::none(),
             py::arg("bits_of_bf16") = false)
        .def_readonly("rows", &HeldRows::rows)
        .def_readonly("dim", &HeldRows::dim)
        .def_readonly("memory", &HeldRows::memory)
        .def_property_readonly("scales", [](const HeldRows& rows) -> py::object {
            return rows.scales ? rows.scales_memory : py::none();
        });
}

}  // namespace lvm::python

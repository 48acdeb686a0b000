#include "rowwise/rowwise.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>

#include "array_view.h"
#include "bindings.h"
#include "held_rows.h"
#include "rowwise/dropout.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

void check_alike(const Rows& x, const Rows* other, const char* name) {
    if (other && (other->dtype != x.dtype || other->rows != x.rows || other->dim != x.dim)) {
        throw py::value_error(std::string(name) + ": expected the dtype and shape of x");
    }
    if (x.dtype == DType::int8) throw py::value_error("x: expected floating-point rows, got int8");
}

ElementType type_of(DType dtype) {
    switch (dtype) {
        case DType::float16:
            return ElementType::float16;
        case DType::bfloat16:
            return ElementType::bfloat16;
        case DType::float64:
            return ElementType::float64;
        default:
            return ElementType::float32;
    }
}

// Where results of the shape and dtype of x go.
MutableRows results(const ArrayView& out, const Rows& x, const char* name) {
    const bool fits = out.type() == type_of(x.dtype) && out.count() == x.rows * x.dim && out.is_contiguous();
    if (!fits) {
        throw py::value_error(std::string(name) + ": expected contiguous " + name_of(type_of(x.dtype)) +
                              " of " + std::to_string(x.rows) + " x " + std::to_string(x.dim) +
                              " numbers, got " + out.described());
    }
    return {out.data(), x.rows, x.dim};
}

const Rows* pointer(const std::optional<HeldRows>& rows) { return rows ? &*rows : nullptr; }

std::optional<std::pair<int64_t, int>> forward(const HeldRows& x, const std::optional<HeldRows>& delta,
                                               const ArrayView& out, double eps) {
    check_alike(x, pointer(delta), "delta");
    const MutableRows to = results(out, x, "out");
    RowFault fault;
    {
        const WithoutGil released;
        fault = normalize_rows(x, pointer(delta), to, eps);
    }
    if (fault.row < 0) return std::nullopt;
    return std::pair{fault.row, fault.argument};
}

void backward(const HeldRows& x, const std::optional<HeldRows>& delta, const HeldRows& grad_out,
              const ArrayView& grad_x, double eps) {
    check_alike(x, pointer(delta), "delta");
    check_alike(x, &grad_out, "grad_out");
    const MutableRows to = results(grad_x, x, "grad_x");
    const WithoutGil released;
    normalize_rows_backward(x, pointer(delta), grad_out, to, eps);
}

void drop(const ArrayView& x, double p, uint64_t seed, const ArrayView& out) {
    const bool is_bf16 = x.type() == ElementType::bfloat16;
    const bool fits = (is_bf16 || x.type() == ElementType::float32) && out.type() == x.type() &&
                      out.count() == x.count() && x.is_contiguous() && out.is_contiguous();
    if (!fits) {
        throw py::value_error("dropout: expected contiguous float32 or bfloat16 x, and out like it, got " +
                              x.described() + " and " + out.described());
    }
    if (!(p >= 0 && p <= 1)) throw py::value_error("dropout: p: expected 0 to 1, got " + std::to_string(p));
    const WithoutGil released;
    dropout(x.data(), is_bf16 ? DType::bfloat16 : DType::float32, x.count(), p, seed, out.data());
}

}  // namespace

void bind_rowwise(py::module_& module) {
    module.def(
        "normalize_rows", &forward, py::arg("x"), py::arg("delta"), py::arg("out"), py::arg("eps"),
        "Write v / (||v|| + eps) to the contiguous array `out`, where v = x, or x + delta. "
        "Returns the first row with NaN or infinity and the argument it is in (0 = x, 1 = delta), or None.");
    module.def("normalize_rows_backward", &backward, py::arg("x"), py::arg("delta"), py::arg("grad_out"),
               py::arg("grad_x"), py::arg("eps"),
               "Write the gradient of normalize_rows with respect to v to the contiguous array `grad_x`.");
    module.def("dropout", &drop, py::arg("x"), py::arg("p"), py::arg("seed"), py::arg("out"),
               "See csrc/rowwise/dropout.h.");
}

}  // namespace lvm::python

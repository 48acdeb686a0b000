#include "rowwise/rowwise.h"

#include <pybind11/stl.h>

#include <optional>
#include <utility>

#include "bindings.h"
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

const Rows* pointer(const std::optional<Rows>& rows) { return rows ? &*rows : nullptr; }

std::optional<std::pair<int64_t, int>> forward(const Rows& x, const std::optional<Rows>& delta, uintptr_t out,
                                               double eps) {
    check_alike(x, pointer(delta), "delta");
    RowFault fault;
    {
        const WithoutGil released;
        fault = normalize_rows(x, pointer(delta), {reinterpret_cast<void*>(out), x.rows, x.dim}, eps);
    }
    if (fault.row < 0) return std::nullopt;
    return std::pair{fault.row, fault.argument};
}

void backward(const Rows& x, const std::optional<Rows>& delta, const Rows& grad_out, uintptr_t grad_x,
              double eps) {
    check_alike(x, pointer(delta), "delta");
    check_alike(x, &grad_out, "grad_out");
    const WithoutGil released;
    normalize_rows_backward(x, pointer(delta), grad_out, {reinterpret_cast<void*>(grad_x), x.rows, x.dim},
                            eps);
}

void drop(uintptr_t x, bool is_bf16, int64_t count, double share, uint64_t seed, uintptr_t out) {
    const WithoutGil released;
    dropout(reinterpret_cast<const void*>(x), is_bf16 ? DType::bfloat16 : DType::float32, count, share, seed,
            reinterpret_cast<void*>(out));
}

}  // namespace

void bind_rowwise(py::module_& module) {
    module.def(
        "normalize_rows", &forward, py::arg("x"), py::arg("delta"), py::arg("out"), py::arg("eps"),
        "Write v / (||v|| + eps) to the contiguous rows at address `out`, where v = x, or x + delta. "
        "Returns the first row with NaN or infinity and the argument it is in (0 = x, 1 = delta), or None.");
    module.def(
        "normalize_rows_backward", &backward, py::arg("x"), py::arg("delta"), py::arg("grad_out"),
        py::arg("grad_x"), py::arg("eps"),
        "Write the gradient of normalize_rows with respect to v to the contiguous rows at address `grad_x`.");
    module.def("dropout", &drop, py::arg("x"), py::arg("is_half"), py::arg("count"), py::arg("share"),
               py::arg("seed"), py::arg("out"), "See csrc/rowwise/dropout.h.");
}

}  // namespace lvm::python

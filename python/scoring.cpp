#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bindings.h"
#include "scoring/bank.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

using Ids = py::array_t<int64_t, py::array::c_style>;
using Scores = py::array_t<float, py::array::c_style>;
using Bounds = py::array_t<double, py::array::c_style>;

void check_queries(const Bank& bank, const Rows& queries) {
    if (queries.dtype != DType::float64 && queries.dim == bank.dim()) return;
    throw py::value_error("queries: expected float32, float16 or bfloat16 rows of " +
                          std::to_string(bank.dim()) + " numbers, got " + std::to_string(queries.dim));
}

void check_shape(const py::array& array, std::vector<int64_t> shape, const char* name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (size_t i = 0; fits && i < shape.size(); ++i)
        fits = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    if (!fits) throw py::value_error(std::string(name) + ": wrong shape");
}

std::unique_ptr<Bank> make_bank(const Rows& rows, bool normalize) {
    if (rows.dtype == DType::float64)
        throw py::value_error("vectors: expected float32 or shorter, got float64");
    const py::gil_scoped_release release;
    return std::make_unique<Bank>(rows, normalize);
}

Ids rank(const Bank& bank, const Rows& queries, const Ids& targets, int64_t max_rank) {
    check_queries(bank, queries);
    check_shape(targets, {queries.rows}, "targets");
    const int64_t* ids = targets.data();
    for (int64_t b = 0; b < queries.rows; ++b) {
        if (ids[b] >= 0 && ids[b] < bank.size()) continue;
        throw py::value_error("targets[" + std::to_string(b) + "] = " + std::to_string(ids[b]) +
                              ": expected an id in [0, " + std::to_string(bank.size()) + ")");
    }
    Ids ranks(queries.rows);
    int64_t* result = ranks.mutable_data();
    const py::gil_scoped_release release;
    bank.rank(queries, ids, max_rank, result);
    return ranks;
}

std::pair<Scores, Ids> topk(const Bank& bank, const Rows& queries, int64_t k) {
    check_queries(bank, queries);
    Scores scores({queries.rows, k});
    Ids ids({queries.rows, k});
    float* best_scores = scores.mutable_data();
    int64_t* best_ids = ids.mutable_data();
    {
        const py::gil_scoped_release release;
        bank.topk(queries, k, best_scores, best_ids);
    }
    return {scores, ids};
}

Ids band(const Bank& bank, const Rows& queries, double low, double high, int64_t limit,
         const std::optional<Ids>& exclude, const std::optional<Bounds>& below) {
    check_queries(bank, queries);
    const int64_t excluded = exclude && exclude->ndim() == 2 ? exclude->shape(1) : 0;
    if (exclude) check_shape(*exclude, {queries.rows, excluded}, "exclude");
    if (below) check_shape(*below, {queries.rows}, "below");
    Ids ids({queries.rows, limit});
    const int64_t* exclude_ids = exclude ? exclude->data() : nullptr;
    const double* bounds = below ? below->data() : nullptr;
    int64_t* result = ids.mutable_data();
    const py::gil_scoped_release release;
    bank.band(queries, low, high, limit, exclude_ids, excluded, bounds, result);
    return ids;
}

}  // namespace

void bind_scoring(py::module_& module) {
    py::class_<Bank>(module, "Bank",
                     "Exact scoring over rows that the caller keeps alive; see lvm_fast.scoring.VectorBank.")
        .def(py::init(&make_bank), py::arg("rows"), py::arg("normalize"))
        .def("rank", &rank, py::arg("queries"), py::arg("targets"), py::arg("max_rank"))
        .def("topk", &topk, py::arg("queries"), py::arg("k"))
        .def("band", &band, py::arg("queries"), py::arg("low"), py::arg("high"), py::arg("limit"),
             py::arg("exclude"), py::arg("below"));
}

}  // namespace lvm::python

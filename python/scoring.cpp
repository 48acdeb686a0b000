#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "bindings.h"
#include "scoring/bank.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

using Ids = py::array_t<int64_t, py::array::c_style>;
using Scores = py::array_t<float, py::array::c_style>;
using Bounds = py::array_t<double, py::array::c_style>;
using Codes = py::array_t<int8_t, py::array::c_style>;
constexpr int64_t kBoundsFields = sizeof(CodeBounds) / sizeof(float);

void check_queries(const Bank& bank, const Rows& queries) {
    if (queries.dtype != DType::float64 && queries.dim == bank.dim()) return;
    throw py::value_error("queries: expected float32, float16 or bfloat16 rows of " +
                          std::to_string(bank.dim()) + " numbers, got " + std::to_string(queries.dim));
}

void check_shape(const py::array& array, const std::vector<int64_t>& shape, const char* name) {
    bool fits = array.ndim() == static_cast<py::ssize_t>(shape.size());
    for (size_t i = 0; fits && i < shape.size(); ++i)
        fits = array.shape(static_cast<py::ssize_t>(i)) == shape[i];
    if (!fits) throw py::value_error(std::string(name) + ": wrong shape");
}

void check_rows(const Rows& rows) {
    if (rows.dtype == DType::float64)
        throw py::value_error("vectors: expected float32 or shorter, got float64");
}

std::unique_ptr<Bank> make_bank(const Rows& rows, bool normalize) {
    check_rows(rows);
    const WithoutGil released;
    return std::make_unique<Bank>(rows, normalize);
}

std::unique_ptr<Bank> open_bank(const Rows& rows, const Codes& coarse, const Codes& fine,
                                const Scores& bounds, const std::optional<Bounds>& factors) {
    check_rows(rows);
    const int64_t bytes = plane_bytes(rows.rows, rows.dim);
    check_shape(coarse, {bytes}, "coarse");
    check_shape(fine, {bytes}, "fine");
    check_shape(bounds, {padded_rows(rows.rows), kBoundsFields}, "bounds");
    if (factors) check_shape(*factors, {rows.rows}, "factors");
    return std::make_unique<Bank>(
        rows, PackedView{coarse.data(), fine.data(), reinterpret_cast<const CodeBounds*>(bounds.data()),
                         factors ? factors->data() : nullptr});
}

// The packed form as arrays that refer to the bank's memory.
py::typing::Dict<py::str, py::array> packed(const py::object& self) {
    const Bank& bank = self.cast<const Bank&>();
    const PackedView& view = bank.packed();
    const int64_t bytes = plane_bytes(bank.size(), bank.dim());
    py::typing::Dict<py::str, py::array> arrays;
    arrays["coarse"] = Codes({bytes}, {1}, view.coarse, self);
    arrays["fine"] = Codes({bytes}, {1}, view.fine, self);
    arrays["bounds"] = Scores(std::vector<int64_t>{padded_rows(bank.size()), kBoundsFields},
                              reinterpret_cast<const float*>(view.bounds), self);
    if (view.factors) arrays["factors"] = Bounds(std::vector<int64_t>{bank.size()}, view.factors, self);
    return arrays;
}

void refill(Bank& bank, const Rows& rows) {
    check_rows(rows);
    if (rows.dim != bank.dim()) throw py::value_error("vectors: expected the bank's number of columns");
    const WithoutGil released;
    bank.refill(rows);
}

Bounds pair_scores(const Bank& bank, const Rows& queries, const Ids& ids) {
    check_queries(bank, queries);
    check_shape(ids, {queries.rows}, "targets");
    const int64_t* pairs = ids.data();
    for (int64_t b = 0; b < queries.rows; ++b) {
        if (pairs[b] >= 0 && pairs[b] < bank.size()) continue;
        throw py::value_error("targets[" + std::to_string(b) + "] = " + std::to_string(pairs[b]) +
                              ": expected an id in [0, " + std::to_string(bank.size()) + ")");
    }
    Bounds scores(queries.rows);
    double* result = scores.mutable_data();
    const WithoutGil released;
    bank.pair_scores(queries, pairs, result);
    return scores;
}

Ids rank(const Bank& bank, const Rows& queries, const Bounds& scores, const Ids& ids, int64_t first_id,
         int64_t max_rank) {
    check_queries(bank, queries);
    check_shape(scores, {queries.rows}, "scores");
    check_shape(ids, {queries.rows}, "ids");
    Ids ranks(queries.rows);
    int64_t* result = ranks.mutable_data();
    const double* wanted = scores.data();
    const int64_t* wanted_ids = ids.data();
    const WithoutGil released;
    bank.rank(queries, wanted, wanted_ids, first_id, max_rank, result);
    return ranks;
}

std::pair<Bounds, Ids> topk(const Bank& bank, const Rows& queries, int64_t k) {
    check_queries(bank, queries);
    Bounds scores({queries.rows, k});
    Ids ids({queries.rows, k});
    double* best_scores = scores.mutable_data();
    int64_t* best_ids = ids.mutable_data();
    {
        const WithoutGil released;
        bank.topk(queries, k, best_scores, best_ids);
    }
    return {scores, ids};
}

std::pair<Bounds, Ids> band(const Bank& bank, const Rows& queries, double low, double high, int64_t limit,
                            const std::optional<Ids>& exclude, const std::optional<Bounds>& below) {
    check_queries(bank, queries);
    const int64_t excluded = exclude && exclude->ndim() == 2 ? exclude->shape(1) : 0;
    if (exclude) check_shape(*exclude, {queries.rows, excluded}, "exclude");
    if (below) check_shape(*below, {queries.rows}, "below");
    Bounds scores({queries.rows, limit});
    Ids ids({queries.rows, limit});
    const int64_t* exclude_ids = exclude ? exclude->data() : nullptr;
    const double* bounds = below ? below->data() : nullptr;
    double* best_scores = scores.mutable_data();
    int64_t* best_ids = ids.mutable_data();
    {
        const WithoutGil released;
        bank.band(queries, {low, high, exclude_ids, excluded, bounds}, limit, best_scores, best_ids);
    }
    return {scores, ids};
}

Bounds sum_exp(const Bank& bank, const Rows& queries, double factor, const Bounds& best) {
    check_queries(bank, queries);
    check_shape(best, {queries.rows}, "best");
    Bounds sums(queries.rows);
    double* result = sums.mutable_data();
    const double* tops = best.data();
    const WithoutGil released;
    bank.sum_exp(queries, factor, tops, result);
    return sums;
}

}  // namespace

void bind_scoring(py::module_& module) {
    py::class_<Bank>(module, "Bank",
                     "Exact scoring over rows that the caller keeps alive; see lvm_fast.retrieval.bank.VectorBank.")
        .def(py::init(&make_bank), py::arg("rows"), py::arg("normalize"))
        .def_static("open", &open_bank, py::arg("rows"), py::arg("coarse"), py::arg("fine"),
                    py::arg("bounds"), py::arg("factors"), py::keep_alive<0, 2>(), py::keep_alive<0, 3>(),
                    py::keep_alive<0, 4>(), py::keep_alive<0, 5>())
        .def("packed", &packed)
        .def(
            "take_tally",
            [](const Bank& bank) {
                const Tally tally = bank.take_tally();
                return std::make_tuple(tally.screened, tally.refined, tally.rescored);
            },
            "Pairs screened, refined and rescored since the last call.")
        .def("refill", &refill, py::arg("rows"))
        .def("pair_scores", &pair_scores, py::arg("queries"), py::arg("ids"))
        .def("rank", &rank, py::arg("queries"), py::arg("scores"), py::arg("ids"), py::arg("first_id"),
             py::arg("max_rank"))
        .def("topk", &topk, py::arg("queries"), py::arg("k"))
        .def("band", &band, py::arg("queries"), py::arg("low"), py::arg("high"), py::arg("limit"),
             py::arg("exclude"), py::arg("below"))
        .def("sum_exp", &sum_exp, py::arg("queries"), py::arg("factor"), py::arg("best"));
}

}  // namespace lvm::python

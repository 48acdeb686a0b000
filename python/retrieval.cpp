#include <pybind11/numpy.h>
#include <pybind11/stl.h>
#include <pybind11/typing.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>

#include "bindings.h"
#include "held_rows.h"
#include "retrieval/bank.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

using Ids = py::array_t<int64_t, py::array::c_style>;
using Scores = py::array_t<float, py::array::c_style>;
using Bounds = py::array_t<double, py::array::c_style>;
using Codes = py::array_t<int8_t, py::array::c_style>;
// A bank and what keeps the rows that it refers to in memory.
struct HeldBank : Bank {
    using Bank::Bank;
    HeldRows held;
};

constexpr int64_t kBoundsFields = sizeof(CodeBounds) / sizeof(float);

void check_queries(const HeldBank& bank, const HeldRows& queries) {
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

using Bits = py::array_t<uint8_t, py::array::c_style>;

// Arrays of a filter: each None where nothing of its kind is left out.
struct HeldFilter {
    std::optional<Bits> allow, held;     // (N / 8,) or (B, N / 8); (N / 8,)
    std::optional<Ids> exclude, ranges;  // (B, E); (B, R, 2)

    Filter checked(const Bank& bank, int64_t queries) const {
        const int64_t bytes = (bank.size() + 7) / 8;
        Filter filter;
        if (allow && allow->ndim() == 2) {
            check_shape(*allow, {queries, bytes}, "allow");
            filter.allow_stride = bytes;
        } else if (allow) {
            check_shape(*allow, {bytes}, "allow");
        }
        if (allow) filter.allow = allow->data();
        if (held) check_shape(*held, {bytes}, "held");
        if (held) filter.held = held->data();
        filter.excluded = exclude && exclude->ndim() == 2 ? exclude->shape(1) : 0;
        if (exclude) check_shape(*exclude, {queries, filter.excluded}, "exclude");
        if (exclude) filter.exclude = exclude->data();
        filter.ranges_each = ranges && ranges->ndim() == 3 ? ranges->shape(1) : 0;
        if (ranges) check_shape(*ranges, {queries, filter.ranges_each, 2}, "exclude_ranges");
        if (ranges) filter.ranges = ranges->data();
        return filter;
    }
};

void check_rows(const HeldRows& rows) {
    if (rows.dtype == DType::float64)
        throw py::value_error("vectors: expected float32 or shorter, got float64");
}

Metric metric_of(const std::string& name) {
    if (name == "ip") return Metric::inner_product;
    if (name == "cosine") return Metric::cosine;
    if (name == "l2") return Metric::l2;
    throw py::value_error("metric: expected 'ip', 'cosine' or 'l2', got '" + name + "'");
}

std::unique_ptr<HeldBank> make_bank(const HeldRows& rows, const std::string& metric) {
    check_rows(rows);
    const Metric kind = metric_of(metric);
    std::unique_ptr<HeldBank> bank;
    {
        const WithoutGil released;
        bank = std::make_unique<HeldBank>(rows, kind);
    }
    bank->held = rows;
    return bank;
}

std::unique_ptr<HeldBank> open_bank(const HeldRows& rows, const Codes& coarse, const Codes& fine,
                                    const Scores& bounds, const std::optional<Bounds>& factors,
                                    const std::optional<Scores>& offsets, const std::optional<Codes>& prefix,
                                    const std::optional<Scores>& prefix_bounds, int64_t prefix_dim) {
    check_rows(rows);
    const int64_t bytes = plane_bytes(rows.rows, rows.dim);
    check_shape(coarse, {bytes}, "coarse");
    check_shape(fine, {bytes}, "fine");
    check_shape(bounds, {padded_rows(rows.rows), kBoundsFields}, "bounds");
    if (factors) check_shape(*factors, {rows.rows}, "factors");
    if (offsets) check_shape(*offsets, {rows.rows}, "offsets");
    if (prefix.has_value() != prefix_bounds.has_value() || prefix.has_value() != prefix_dim > 0)
        throw py::value_error("prefix: expected codes, bounds and their dimension, or none of them");
    if (prefix) check_shape(*prefix, {plane_bytes(rows.rows, prefix_dim)}, "prefix");
    if (prefix) check_shape(*prefix_bounds, {padded_rows(rows.rows), kBoundsFields}, "prefix_bounds");
    auto bank = std::make_unique<HeldBank>(
        rows, PackedView{coarse.data(), fine.data(), reinterpret_cast<const CodeBounds*>(bounds.data()),
                         factors ? factors->data() : nullptr, offsets ? offsets->data() : nullptr,
                         prefix ? prefix->data() : nullptr,
                         prefix ? reinterpret_cast<const CodeBounds*>(prefix_bounds->data()) : nullptr,
                         prefix_dim});
    bank->held = rows;
    return bank;
}

// The packed form as arrays that refer to the bank's memory.
py::typing::Dict<py::str, py::array> packed(const py::object& self) {
    const HeldBank& bank = self.cast<const HeldBank&>();
    const PackedView& view = bank.packed();
    const int64_t bytes = plane_bytes(bank.size(), bank.dim());
    py::typing::Dict<py::str, py::array> arrays;
    arrays["coarse"] = Codes({bytes}, {1}, view.coarse, self);
    arrays["fine"] = Codes({bytes}, {1}, view.fine, self);
    arrays["bounds"] = Scores(std::vector<int64_t>{padded_rows(bank.size()), kBoundsFields},
                              reinterpret_cast<const float*>(view.bounds), self);
    if (view.factors) arrays["factors"] = Bounds(std::vector<int64_t>{bank.size()}, view.factors, self);
    if (view.prefix) {
        const int64_t prefix_bytes = plane_bytes(bank.size(), view.prefix_dim);
        arrays["prefix"] = Codes({prefix_bytes}, {1}, view.prefix, self);
        arrays["prefix_bounds"] = Scores(std::vector<int64_t>{padded_rows(bank.size()), kBoundsFields},
                                         reinterpret_cast<const float*>(view.prefix_bounds), self);
    }
    if (view.offsets) arrays["offsets"] = Scores(std::vector<int64_t>{bank.size()}, view.offsets, self);
    return arrays;
}

void refill(HeldBank& bank, const HeldRows& rows) {
    check_rows(rows);
    if (rows.dim != bank.dim()) throw py::value_error("vectors: expected the bank's number of columns");
    {
        const WithoutGil released;
        bank.refill(rows);
    }
    bank.held = rows;
}

Bounds pair_scores(const HeldBank& bank, const HeldRows& queries, const Ids& ids) {
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

Ids rank(const HeldBank& bank, const HeldRows& queries, const Bounds& scores, const Ids& ids,
         int64_t first_id, int64_t max_rank, const HeldFilter& filter) {
    check_queries(bank, queries);
    check_shape(scores, {queries.rows}, "scores");
    check_shape(ids, {queries.rows}, "ids");
    Ids ranks(queries.rows);
    int64_t* result = ranks.mutable_data();
    const double* wanted = scores.data();
    const int64_t* wanted_ids = ids.data();
    const Filter allowed = filter.checked(bank, queries.rows);
    const WithoutGil released;
    bank.rank(queries, wanted, wanted_ids, first_id, max_rank, allowed, result);
    return ranks;
}

// The tails of prefixes (rows, dim).
const float* checked_prefixes(const HeldRows& prefixes, const std::optional<Scores>& tails, int64_t rows,
                              int64_t dim) {
    if (prefixes.dtype != DType::float32 || prefixes.rows != rows || prefixes.dim != dim || dim == 0 ||
        !tails)
        throw py::value_error("prefixes: expected float32 rows as the bank has them, with tails");
    check_shape(*tails, {rows}, "tails");
    return tails->data();
}

void add_prefixes(HeldBank& bank, const HeldRows& prefixes, const Scores& tails, int64_t first) {
    const float* numbers = checked_prefixes(prefixes, tails, prefixes.rows, prefixes.dim);
    const bool is_next = first == 0 || prefixes.dim == bank.packed().prefix_dim;
    if (first < 0 || first % kBlockRows != 0 || prefixes.rows > bank.size() - first || !is_next)
        throw py::value_error("prefixes: expected those of whole blocks of the bank's rows");
    const WithoutGil released;
    bank.add_prefixes(prefixes, numbers, first);
}

std::pair<Bounds, Ids> best(const HeldBank& bank, const HeldRows& queries, const Bounds& low,
                            const Bounds& high, int64_t limit, const HeldFilter& filter,
                            const std::optional<HeldRows>& prefixes, const std::optional<Scores>& tails) {
    check_queries(bank, queries);
    check_shape(low, {queries.rows}, "low");
    check_shape(high, {queries.rows}, "high");
    const Filter allowed = filter.checked(bank, queries.rows);
    Bounds scores({queries.rows, limit});
    Ids ids({queries.rows, limit});
    const Band band{low.data(), high.data()};
    QueryPrefixes first{};
    if (prefixes)
        first = {*prefixes, checked_prefixes(*prefixes, tails, queries.rows, bank.packed().prefix_dim)};
    double* best_scores = scores.mutable_data();
    int64_t* best_ids = ids.mutable_data();
    {
        const WithoutGil released;
        bank.best(queries, band, limit, allowed, prefixes ? &first : nullptr, best_scores, best_ids);
    }
    return {scores, ids};
}

Bounds sum_exp(const HeldBank& bank, const HeldRows& queries, double factor, const Bounds& best,
               const std::optional<Bits>& held) {
    check_queries(bank, queries);
    check_shape(best, {queries.rows}, "best");
    if (held) check_shape(*held, {(bank.size() + 7) / 8}, "held");
    const uint8_t* bits = held ? held->data() : nullptr;
    Bounds sums(queries.rows);
    double* result = sums.mutable_data();
    const double* tops = best.data();
    const WithoutGil released;
    bank.sum_exp(queries, factor, tops, bits, result);
    return sums;
}

}  // namespace

void bind_retrieval(py::module_& module) {
    py::class_<HeldFilter>(module, "Filter",
                           "What a question leaves out of a bank of N candidates; None for nothing. Bits are "
                           "those of numpy.packbits: `allow` (N / 8,) or (B, N / 8), `held` (N / 8,); "
                           "`exclude` (B, E) ids or -1; `exclude_ranges` (B, R, 2) half-open.")
        .def(py::init<std::optional<Bits>, std::optional<Bits>, std::optional<Ids>, std::optional<Ids>>(),
             py::arg("allow") = py::none(), py::arg("held") = py::none(), py::arg("exclude") = py::none(),
             py::arg("exclude_ranges") = py::none())
        .def_readonly("allow", &HeldFilter::allow)
        .def_readonly("held", &HeldFilter::held)
        .def_readonly("exclude", &HeldFilter::exclude)
        .def_readonly("exclude_ranges", &HeldFilter::ranges);
    py::class_<HeldBank>(
        module, "Bank",
        "Exact scoring over rows, which it keeps alive; see lvm_fast.retrieval.bank.VectorBank.")
        .def(py::init(&make_bank), py::arg("rows"), py::arg("metric"))
        .def_static("open", &open_bank, py::arg("rows"), py::arg("coarse"), py::arg("fine"),
                    py::arg("bounds"), py::arg("factors"), py::arg("offsets"), py::arg("prefix"),
                    py::arg("prefix_bounds"), py::arg("prefix_dim"), py::keep_alive<0, 2>(),
                    py::keep_alive<0, 3>(), py::keep_alive<0, 4>(), py::keep_alive<0, 5>(),
                    py::keep_alive<0, 6>(), py::keep_alive<0, 7>(), py::keep_alive<0, 8>())
        .def("packed", &packed)
        .def("add_prefixes", &add_prefixes, py::arg("prefixes"), py::arg("tails"), py::arg("first"))
        .def(
            "take_tally",
            [](const HeldBank& bank) {
                const Tally tally = bank.take_tally();
                return std::make_tuple(tally.screened, tally.refined, tally.rescored);
            },
            "Pairs screened, refined and rescored since the last call.")
        .def("refill", &refill, py::arg("rows"))
        .def("pair_scores", &pair_scores, py::arg("queries"), py::arg("ids"))
        .def("rank", &rank, py::arg("queries"), py::arg("scores"), py::arg("ids"), py::arg("first_id"),
             py::arg("max_rank"), py::arg("filter"))
        .def("best", &best, py::arg("queries"), py::arg("low"), py::arg("high"), py::arg("limit"),
             py::arg("filter"), py::arg("prefixes"), py::arg("tails"))
        .def("sum_exp", &sum_exp, py::arg("queries"), py::arg("factor"), py::arg("best"), py::arg("held"));
}

}  // namespace lvm::python

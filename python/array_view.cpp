#include "array_view.h"

#include <pybind11/gil_safe_call_once.h>
#include <pybind11/numpy.h>

#include <algorithm>

namespace py = pybind11;

namespace lvm::python {
namespace {

struct Named {
    ElementType type;
    const char* name;
    int64_t bytes;
};
constexpr Named kNamed[] = {
    {ElementType::float32, "float32", 4},   {ElementType::float16, "float16", 2},
    {ElementType::bfloat16, "bfloat16", 2}, {ElementType::float64, "float64", 8},
    {ElementType::int8, "int8", 1},         {ElementType::int64, "int64", 8},
    {ElementType::uint16, "uint16", 2},
};

// What is looked up on every tensor: the names of its attributes, torch's dtypes and its layout.
struct Torch {
    py::str data_ptr{"data_ptr"}, dtype{"dtype"}, shape{"shape"}, stride{"stride"}, is_cpu{"is_cpu"},
        layout{"layout"}, is_neg{"is_neg"};
    std::array<py::object, std::size(kNamed)> dtypes;
    py::object strided;

    Torch() {
        const py::module_ torch = py::module_::import("torch");
        for (size_t i = 0; i < dtypes.size(); ++i) dtypes[i] = torch.attr(kNamed[i].name);
        strided = torch.attr("strided");
    }
};

const Torch& torch() {
    PYBIND11_CONSTINIT static py::gil_safe_call_once_and_store<Torch> once;
    return once.call_once_and_store_result([] { return Torch(); }).get_stored();
}

py::object attribute(py::handle object, const py::str& name) {
    PyObject* found = PyObject_GetAttr(object.ptr(), name.ptr());
    if (!found) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(found);
}

py::object asked(py::handle object, const py::str& method) {
    PyObject* answer = PyObject_CallMethodNoArgs(object.ptr(), method.ptr());
    if (!answer) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(answer);
}

template <size_t kMost>
int copy_numbers(const py::object& tuple, std::array<int64_t, kMost>& numbers) {
    const py::ssize_t count = PyTuple_GET_SIZE(tuple.ptr());
    if (count > static_cast<py::ssize_t>(kMost)) {
        throw py::value_error("expected an array of at most " + std::to_string(kMost) + " dimensions, got " +
                              std::to_string(count));
    }
    for (py::ssize_t i = 0; i < count; ++i) {
        numbers[static_cast<size_t>(i)] = PyLong_AsLongLong(PyTuple_GET_ITEM(tuple.ptr(), i));
    }
    if (PyErr_Occurred()) throw py::error_already_set();
    return static_cast<int>(count);
}

std::string described_shape(const int64_t* shape, size_t dims) {
    std::string text = "(";
    for (size_t i = 0; i < dims; ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
    return text + (dims == 1 ? ",)" : ")");
}

ElementType type_of(const py::dtype& dtype) {
    switch (dtype.num()) {
        case py::detail::npy_api::NPY_FLOAT_:
            return ElementType::float32;
        case py::detail::npy_api::NPY_DOUBLE_:
            return ElementType::float64;
        case py::detail::npy_api::NPY_INT8_:
            return ElementType::int8;
        case py::detail::npy_api::NPY_UINT16_:
            return ElementType::uint16;
        default:
            break;
    }
    const auto name = dtype.attr("name").cast<std::string>();  // slow
    for (const Named& named : kNamed) {
        if (name == named.name) return named.type;
    }
    return ElementType::other;
}

}  // namespace

const char* name_of(ElementType type) {
    return type == ElementType::other ? "another type" : kNamed[static_cast<size_t>(type)].name;
}

bool ArrayView::read(py::handle array) {
    if (!array) return false;
    if (py::isinstance<py::array>(array)) {
        read_array(array);
    } else if (!array.is_none() && PyObject_HasAttr(array.ptr(), torch().data_ptr.ptr()) == 1) {
        read_tensor(array);
    } else {
        return false;
    }
    if (!data_ && count() > 0)
        throw py::value_error("expected an array that holds its numbers, got one without");
    return true;
}

void ArrayView::read_tensor(py::handle tensor) {
    const Torch& names = torch();
    if (attribute(tensor, names.is_cpu).ptr() != Py_True) {
        throw py::value_error("expected a tensor on the CPU, got one on " +
                              std::string(py::str(tensor.attr("device"))));
    }
    if (attribute(tensor, names.layout).ptr() != names.strided.ptr()) {
        throw py::value_error("expected a dense tensor, got one of layout " +
                              std::string(py::str(tensor.attr("layout"))));
    }
    if (asked(tensor, names.is_neg).ptr() == Py_True) {
        throw py::value_error("expected a plain tensor, got one that is negated when it is read");
    }
    dims_ = copy_numbers(attribute(tensor, names.shape), shape_);
    copy_numbers(asked(tensor, names.stride), strides_);
    data_ = PyLong_AsVoidPtr(asked(tensor, names.data_ptr).ptr());
    const py::object dtype = attribute(tensor, names.dtype);
    for (size_t i = 0; i < names.dtypes.size(); ++i) {
        if (!dtype.is(names.dtypes[i])) continue;
        type_ = kNamed[i].type;
        element_bytes_ = kNamed[i].bytes;
        return;
    }
    element_bytes_ = dtype.attr("itemsize").cast<int64_t>();
}

void ArrayView::read_array(py::handle given) {
    const auto array = py::reinterpret_borrow<py::array>(given);
    const py::dtype dtype = array.dtype();
    element_bytes_ = dtype.itemsize();
    dims_ = static_cast<int>(array.ndim());
    if (dims_ > kMostDims || dtype.byteorder() == '>' || element_bytes_ == 0) {
        throw py::value_error("expected an array of numbers as this machine has them, got " +
                              std::string(py::str(dtype)) + " of " + std::to_string(dims_) + " dimensions");
    }
    type_ = type_of(dtype);
    for (int i = 0; i < dims_; ++i) {
        shape_[static_cast<size_t>(i)] = array.shape(i);
        strides_[static_cast<size_t>(i)] = array.strides(i) / element_bytes_;
        if (array.shape(i) > 1 && array.strides(i) % element_bytes_ != 0) {
            throw py::value_error("expected an array of numbers side by side, got fields of a wider one");
        }
    }
    data_ = const_cast<void*>(array.data());
}

int64_t ArrayView::count() const {
    int64_t count = 1;
    for (int i = 0; i < dims_; ++i) count *= size(i);
    return count;
}

bool ArrayView::is_contiguous() const {
    if (count() == 0) return true;
    int64_t expected = 1;
    for (int i = dims_ - 1; i >= 0; --i) {
        if (size(i) > 1 && stride(i) != expected) return false;
        expected *= size(i);
    }
    return true;
}

std::string ArrayView::described() const {
    return std::string(name_of(type_)) + " " + described_shape(shape_.data(), static_cast<size_t>(dims_));
}

void ArrayView::expect_dims(const char* name, int dims) const {
    if (dims_ == dims) return;
    throw py::value_error(std::string(name) + ": expected " + std::to_string(dims) + " dimensions, got " +
                          described());
}

void ArrayView::expect(const char* name, ElementType type, std::initializer_list<int64_t> shape,
                       bool has_layout) const {
    const bool is_alike =
        type == type_ && std::equal(shape.begin(), shape.end(), shape_.begin(), shape_.begin() + dims_);
    if (is_alike && has_layout) return;
    throw py::value_error(std::string(name) + ": expected " + name_of(type) + " " +
                          described_shape(shape.begin(), shape.size()) + ", got " + described() +
                          (is_alike ? " whose numbers lie apart" : ""));
}

}  // namespace lvm::python

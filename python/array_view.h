// Torch tensors and numpy arrays as operators take them: where the numbers are, of what format, shape and
// strides, read and checked here alone. A view keeps nothing alive: it is an argument's, which Python holds
// for as long as the call.
#pragma once

#include <pybind11/pybind11.h>

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "core/number_formats.h"

namespace lvm::python {

enum class ElementType { float32, float16, bfloat16, float64, int8, int64, uint16, other };

const char* name_of(ElementType type);

template <class T>
constexpr ElementType element_type();
template <>
constexpr ElementType element_type<float>() {
    return ElementType::float32;
}
template <>
constexpr ElementType element_type<BF16>() {
    return ElementType::bfloat16;
}
template <>
constexpr ElementType element_type<int64_t>() {
    return ElementType::int64;
}

class ArrayView {
  public:
    static constexpr int kMostDims = 8;

    ArrayView() = default;

    // Reads what a tensor or an array says of itself; false for any other object. Throws py::value_error for
    // a tensor that is not dense numbers on the CPU, and for an array whose numbers are not as the machine
    // has them.
    bool read(pybind11::handle array);

    void* data() const { return data_; }
    ElementType type() const { return type_; }
    int64_t count() const;
    int64_t bytes() const { return count() * element_bytes_; }
    int dims() const { return dims_; }
    int64_t size(int dim) const { return shape_[static_cast<size_t>(dim)]; }
    int64_t stride(int dim) const { return strides_[static_cast<size_t>(dim)]; }  // elements

    // Whether all numbers, or those of every row of the last axis, lie one after another.
    bool is_contiguous() const;
    bool has_dense_rows() const {
        return dims_ > 0 && (size(dims_ - 1) <= 1 || stride(dims_ - 1) == 1 || count() == 0);
    }

    // The numbers of a contiguous array. Each of these throws py::value_error, which begins with `name`, if
    // the array is another than expected.
    template <class T>
    T* numbers(const char* name, std::initializer_list<int64_t> shape) const {
        expect(name, element_type<T>(), shape, is_contiguous());
        return static_cast<T*>(data_);
    }

    // The same of an array whose rows may lie apart.
    template <class T>
    T* rows(const char* name, std::initializer_list<int64_t> shape) const {
        expect(name, element_type<T>(), shape, has_dense_rows());
        return static_cast<T*>(data_);
    }

    void expect_dims(const char* name, int dims) const;

    // float32 (3, 4)
    std::string described() const;

  private:
    void expect(const char* name, ElementType type, std::initializer_list<int64_t> shape,
                bool has_layout) const;
    void read_tensor(pybind11::handle tensor);
    void read_array(pybind11::handle array);

    void* data_ = nullptr;
    ElementType type_ = ElementType::other;
    int64_t element_bytes_ = 0;
    int dims_ = 0;
    std::array<int64_t, kMostDims> shape_{}, strides_{};
};

}  // namespace lvm::python

namespace pybind11::detail {

template <>
struct type_caster<lvm::python::ArrayView> {
    PYBIND11_TYPE_CASTER(lvm::python::ArrayView, const_name("torch.Tensor | numpy.ndarray"));
    bool load(handle source, bool) { return value.read(source); }
};

}  // namespace pybind11::detail

// Rows of a tensor or an array together with what keeps them in memory.
#pragma once

#include <pybind11/pybind11.h>

#include "core/views.h"

namespace lvm::python {

struct HeldRows : Rows {
    pybind11::object memory, scales_memory;
};

}  // namespace lvm::python

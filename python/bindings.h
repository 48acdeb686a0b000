// One function a topic, each in the file of its name.
#pragma once

#include <pybind11/pybind11.h>

namespace lvm::python {

void bind_system(pybind11::module_& module);
void bind_rows(pybind11::module_& module);
void bind_rowwise(pybind11::module_& module);
void bind_recurrent(pybind11::module_& module);
void bind_memory_gru(pybind11::module_& module);
void bind_scoring(pybind11::module_& module);

}  // namespace lvm::python

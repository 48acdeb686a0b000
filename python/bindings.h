// One function a room of csrc (or a part of it), each in the file of its name.
#pragma once

#include <pybind11/pybind11.h>

#include "runtime/interrupt.h"

namespace lvm::python {

// Leaves the GIL to others while the core works. On Python's main thread signal handlers run all the same,
// and what they raise (Ctrl-C: KeyboardInterrupt) ends the work.
class WithoutGil {
  public:
    WithoutGil();

  private:
    PollScope polls_;
    pybind11::gil_scoped_release release_;
};

void bind_runtime(pybind11::module_& module);
void bind_core(pybind11::module_& module);
void bind_rowwise(pybind11::module_& module);
void bind_recurrent_gru(pybind11::module_& module);
void bind_recurrent_lstm(pybind11::module_& module);
void bind_recurrent_packed_model(pybind11::module_& module);
void bind_retrieval(pybind11::module_& module);

}  // namespace lvm::python

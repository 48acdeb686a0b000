#include <pthread.h>

#include "bindings.h"

namespace py = pybind11;

namespace lvm::python {
namespace {

unsigned long main_thread = 0;  // as Python counts it: the only one that runs signal handlers

void check_signals() {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

}  // namespace

WithoutGil::WithoutGil() : polls_(PyThread_get_thread_ident() == main_thread ? check_signals : nullptr) {}

void bind_interrupts(py::module_&) {
    main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
    // The thread that forks is the child's only one.
    pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
}

}  // namespace lvm::python

#include <pthread.h>
#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "runtime/level.h"
#include "runtime/thread_pool.h"

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

void bind_runtime(py::module_& module) {
    main_thread = py::module_::import("threading").attr("main_thread")().attr("ident").cast<unsigned long>();
    // The thread that forks is the child's only one.
    pthread_atfork(nullptr, nullptr, [] { main_thread = PyThread_get_thread_ident(); });
    module.def(
        "simd_level", [] { return std::string(level_name(current_level())); },
        "The instruction set in force: the best of simd_levels(), unless LVM_FAST_SIMD or set_simd_level() "
        "chose another.");
    module.def(
        "simd_levels",
        [] {
            std::vector<std::string> names;
            for (Level level : available_levels()) names.emplace_back(level_name(level));
            return names;
        },
        "The instruction sets that this CPU can run, slowest first.");
    module.def("set_simd_level", &set_level, py::arg("name"),
               "Force an instruction set; ValueError if this CPU lacks it.");
    module.def("num_threads", &num_threads, "Threads that kernels may use, the caller's included.");
    module.def(
        "set_num_threads",
        [](int count) {
            const WithoutGil released;  // it waits for the job at hand, which may wait for the GIL
            set_num_threads(count);
        },
        py::arg("count"), "Set the number of threads (1 to 1024); ValueError otherwise.");
}

}  // namespace lvm::python

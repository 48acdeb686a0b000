#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "bindings.h"
#include "runtime/level.h"
#include "runtime/thread_pool.h"

namespace py = pybind11;

namespace lvm::python {

void bind_system(py::module_& module) {
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

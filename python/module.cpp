#include "bindings.h"

PYBIND11_MODULE(_core, module) {
    module.doc() =
        "The compute core of lvm_fast. Use it through lvm_fast.ops, lvm_fast.layers and lvm_fast.retrieval.";
    lvm::python::bind_interrupts(module);
    lvm::python::bind_system(module);
    lvm::python::bind_rows(module);
    lvm::python::bind_rowwise(module);
    lvm::python::bind_recurrent(module);
    lvm::python::bind_memory_gru(module);
    lvm::python::bind_scoring(module);
}

#include "bindings.h"

// Every call lets other threads run while the core computes, with the interpreter's lock or without one.
PYBIND11_MODULE(_core, module, pybind11::mod_gil_not_used()) {
    module.doc() =
        "The compute core of lvm_fast. Use it through lvm_fast.ops, lvm_fast.layers and lvm_fast.retrieval.";
    lvm::python::bind_runtime(module);
    lvm::python::bind_core(module);
    lvm::python::bind_rowwise(module);
    lvm::python::bind_recurrent_gru(module);
    lvm::python::bind_recurrent_lstm(module);
    lvm::python::bind_recurrent_packed_model(module);
    lvm::python::bind_retrieval(module);
}

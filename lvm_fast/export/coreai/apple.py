"""Imports Apple's Core AI packages once, quietly and in versions that work; nothing else here reaches them."""

from __future__ import annotations

import importlib.metadata
import math
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .requirements import INSTALL, check_machine, check_version

check_machine()
check_version()
try:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "2.13.0+cpu" is newer to it than the "2.13.0" that it was tested with
        import coreai_torch
        import coreai_torch._compression.custom_layers  # registers the operators of compressed weights
        from coreai._compiler._mlir_libs._coreaiIR._bindings.compiler import copy_constant_value_to_array
        from coreai._compiler.dialects.coreai import cast as as_type
        from coreai._compiler.ir import F16Type, F32Type, InsertionPoint, RankedTensorType
        from coreai.authoring import AIModelAsset, AIProgram
        from coreai.runtime import AIModelAssetMetadata
        from coreai.runtime import NDArray as RuntimeArray
except Exception as error:  # there and broken, or without the libraries for this machine
    raise ImportError(f"Core AI export cannot load Apple's packages ({error}): {INSTALL}") from error

CONSTANT, INT8, PALETTE = "coreai.constant", "coreai.blockwise_shift_scale", "coreai.lut_to_dense"
_FLOATS = {"f16": np.float16, "f32": np.float32}


def versions() -> dict[str, str]:
    """Return the versions of the packages, by name."""
    return {name: importlib.metadata.version(name) for name in ("coreai-core", "coreai-torch")}


def own_metadata(about: AIModelAssetMetadata) -> dict[str, Any]:
    """Return what was put into an asset's metadata with `set_custom`, by name."""
    called = ("custom_metadata", "creator_defined_metadata")  # as it is documented, and as it is in 1.0.0b3
    return dict(next(getattr(about, name) for name in called if hasattr(about, name)))


def functions_in(program: AIProgram) -> dict[str, Any]:
    """Return the functions of a program by name, without the parts that they call."""
    operations = program._module._mlir_module.body.operations
    graphs = [operation for operation in operations if operation.operation.name == "coreai.graph"]
    return {graph.sym_name.value: graph for graph in graphs if "composite_decl" not in graph.attributes}


def float_types() -> tuple[Any, Any]:
    """Return the types float16 and float32 of the active context."""
    return F16Type.get(), F32Type.get()


def bytes_of(program: AIProgram) -> int:
    """Return how many bytes a program takes as a file, or a few more."""
    counter = _Counter()
    program._module._mlir_module.operation.write_bytecode(counter)
    return counter.total


class _Counter:
    """A file that keeps nothing but its size."""

    total = 0

    def write(self, data: bytes) -> None:
        self.total += len(data)


def operations_in(operation: Any) -> Iterator[Any]:
    """Yield all operations within one, however deep."""
    for region in operation.regions:
        for block in region.blocks:
            for inner in block.operations:
                yield inner.operation
                yield from operations_in(inner.operation)


def value_of(constant: Any) -> NDArray[Any]:
    """Return the numbers of a constant operation; those of fewer than 8 bits as uint8, one each."""
    kind = constant.results[0].type
    name, shape = str(kind.element_type), tuple(kind.shape)
    width = int("".join(filter(str.isdigit, name)))
    raw = np.zeros(math.ceil(math.prod(shape) * width / 8), np.uint8)
    copy_constant_value_to_array(constant_op=constant, destination=raw)
    if name in _FLOATS:
        return raw.view(_FLOATS[name]).reshape(shape)
    if width >= 8:
        return raw.view(f"{'u' if name.startswith('u') else 'i'}{width // 8}").reshape(shape)
    return _unpacked(raw, width, math.prod(shape)).reshape(shape)


def _unpacked(raw: NDArray[np.uint8], width: int, count: int) -> NDArray[np.uint8]:
    """Unpack numbers of so many bits that lie side by side, the lowest bits first."""
    bits = np.unpackbits(raw, bitorder="little")[: count * width].reshape(count, width)
    return np.packbits(bits, axis=1, bitorder="little")[:, 0]


__all__ = [
    "AIModelAsset",
    "AIModelAssetMetadata",
    "AIProgram",
    "CONSTANT",
    "InsertionPoint",
    "RankedTensorType",
    "as_type",
    "bytes_of",
    "float_types",
    "INT8",
    "PALETTE",
    "RuntimeArray",
    "coreai_torch",
    "functions_in",
    "operations_in",
    "own_metadata",
    "value_of",
    "versions",
]

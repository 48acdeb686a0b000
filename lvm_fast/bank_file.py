"""A packed `VectorBank` on disk: one `.safetensors` file that is mapped, not read, when it is opened."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from numpy.typing import NDArray

from .data.container import DTYPES, Tensor, TensorWriter, read_tensors
from .data.vectors import Vectors
from .files import atomic_path

FORMAT = {"format": "lvm_fast.VectorBank", "version": "1"}
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
BLOCK_ROWS = 1 << 16
_PACKED = {"bounds": "F32", "factors": "F64", "coarse": "I8", "fine": "I8"}


class BankFile(NamedTuple):
    """Stored rows, and the arrays of `csrc/scoring/packed.h` by name ("factors" only of a normalised bank)."""

    vectors: Vectors
    packed: dict[str, NDArray[Any]]


def write_bank(path: str | os.PathLike[str], vectors: Vectors, packed: dict[str, NDArray[Any]]) -> None:
    """Save atomically, block by block. Raises OSError where it cannot be written."""
    arrays: dict[str, NDArray[Any]] = {"vectors": vectors.raw}
    codes = {"vectors": CODES[vectors.dtype_name], "scales": "F32"} | _PACKED
    if vectors.scales is not None:
        arrays["scales"] = vectors.scales
    arrays |= packed
    names = sorted(arrays, key=lambda name: -DTYPES[codes[name]].itemsize)  # wider numbers first: all stay aligned
    layout = {name: (codes[name], arrays[name].shape) for name in names}
    with atomic_path(path) as temporary, TensorWriter(temporary, layout, FORMAT) as writer:
        for name in names:
            for first in range(0, len(arrays[name]), BLOCK_ROWS):
                writer.put(name, first, arrays[name][first : first + BLOCK_ROWS])


def read_bank(path: str | os.PathLike[str], where: str) -> BankFile:
    """Map a saved bank. Raises OSError where it cannot be opened, ValueError where it is no whole bank."""
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if metadata != FORMAT:
        raise ValueError(f"{where}: expected a bank saved by VectorBank.save, found metadata {metadata}")
    names = {code: name for name, code in CODES.items()}
    stored = _tensor(tensors, "vectors", tuple(names), 2, where)
    scales = _tensor(tensors, "scales", ("F32",), 1, where).values if "scales" in tensors else None
    vectors = Vectors(stored.values, names[stored.code], scales, where)
    packed = {
        name: _tensor(tensors, name, (code,), 2 if name == "bounds" else 1, where).values
        for name, code in _PACKED.items()
        if name in tensors or name != "factors"
    }
    return BankFile(vectors, packed)


def _tensor(tensors: dict[str, Tensor], name: str, codes: tuple[str, ...], dims: int, where: str) -> Tensor:
    if name not in tensors:
        raise ValueError(f"{where}: expected a tensor '{name}', found {', '.join(sorted(tensors)) or 'none'}")
    tensor = tensors[name]
    if tensor.code not in codes or tensor.values.ndim != dims:
        raise ValueError(
            f"{where}: tensor '{name}': expected {' or '.join(codes)} of {dims} dimensions, "
            f"got {tensor.code} of shape {tensor.values.shape}"
        )
    return tensor

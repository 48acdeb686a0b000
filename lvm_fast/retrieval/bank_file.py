"""A packed `VectorBank` on disk: one `.safetensors` file that is mapped, not read, when it is opened."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from hashlib import sha256
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .._core import Bank
from .._util.atomic_files import atomic_path
from ..data.safetensors_file import DTYPES, Tensor, TensorWriter, read_tensors
from ..data.vectors import Vectors
from .checked_input import matrix_of
from .prefixes import Axes, add_prefixes, are_orthonormal

FORMAT = {"format": "lvm_fast.VectorBank", "version": "1"}
NEW_FORMAT = FORMAT | {"version": "2"}  # with arrays that readers of version 1 do not know
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
_PACKED_ROWS = 1 << 15  # packed at once: whole blocks of codes
BLOCK_BYTES = 8 << 20  # written at once: signals are heard in between
_PACKED = {
    "axes": "F64",
    "factors": "F64",
    "bounds": "F32",
    "offsets": "F32",
    "prefix_bounds": "F32",
    "coarse": "I8",
    "fine": "I8",
    "prefix": "I8",
}
_MATRICES = ("axes", "bounds", "prefix_bounds")
_ALWAYS = ("bounds", "coarse", "fine")
_PREFIXES = ("axes", "prefix", "prefix_bounds")  # all or none
_OF_A_METRIC = {"factors": "cosine", "offsets": "l2"}  # arrays that only banks of that metric have


class BankFile(NamedTuple):
    """Stored rows, and the arrays of `csrc/retrieval/packed_bank.h` by name (some only by one metric)."""

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
    metadata = _format_of(packed)
    with atomic_path(path) as temporary, TensorWriter(temporary, layout, metadata) as writer:
        for name in names:
            rows = max(1, BLOCK_BYTES // max(1, arrays[name][:1].nbytes))
            for first in range(0, len(arrays[name]), rows):
                writer.put(name, first, arrays[name][first : first + rows])


def pack_into_file(path: str | os.PathLike[str], vectors: Vectors, metric: str, axes: Axes | None) -> None:
    """Pack vectors into a file block by block, in little memory; with axes, for search.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
        ValueError: a row cannot be scored; the message begins with "vectors".
    """
    (count, dim), padded = vectors.shape, -(-len(vectors) // 32) * 32
    planes = {"coarse": dim, "fine": dim} | ({} if axes is None else {"prefix": len(axes)})
    shapes: dict[str, tuple[int, ...]] = {name: (padded * code_columns(columns),) for name, columns in planes.items()}
    shapes |= {"vectors": vectors.raw.shape, "bounds": (padded, 6)}
    if vectors.scales is not None:
        shapes["scales"] = (count,)
    if metric != "ip":
        shapes[next(name for name, of in _OF_A_METRIC.items() if of == metric)] = (count,)
    if axes is not None:
        shapes |= {"axes": axes.shape, "prefix_bounds": (padded, 6)}
    codes = {"vectors": CODES[vectors.dtype_name], "scales": "F32"} | _PACKED
    names = sorted(shapes, key=lambda name: -DTYPES[codes[name]].itemsize)  # wider numbers first: all stay aligned
    layout = {name: (codes[name], shapes[name]) for name in names}
    with atomic_path(path) as temporary, TensorWriter(temporary, layout, _format_of(shapes)) as writer:
        if axes is not None:
            writer.put("axes", 0, axes)
        for first in range(0, count, _PACKED_ROWS):
            some = vectors.select(slice(first, first + _PACKED_ROWS))
            core = _packed_block(some, first, metric, axes)
            writer.put("vectors", first, some.raw)
            if some.scales is not None:
                writer.put("scales", first, some.scales)
            for name, array in core.packed().items():
                writer.put(name, first * (code_columns(planes[name]) if name in planes else 1), array)


def code_columns(columns: int) -> int:
    """Return the bytes of a row in a plane of codes: whole chunks of 64."""
    return -(-columns // 64) * 64


def _packed_block(some: Vectors, first: int, metric: str, axes: Axes | None) -> Bank:
    try:
        core = Bank(matrix_of(some, "vectors").rows, metric)
    except ValueError as error:
        told = re.sub(r"row (\d+)", lambda found: f"row {first + int(found[1])}", str(error), count=1)
        raise ValueError(told) from None
    if axes is not None:
        add_prefixes(core, some, axes, metric)
    return core


def read_bank(path: str | os.PathLike[str], where: str) -> BankFile:
    """Map a saved bank. Raises OSError where it cannot be opened, ValueError where it is no whole bank."""
    try:
        tensors, metadata = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if metadata != _format_of(tensors):
        raise ValueError(f"{where}: expected a bank saved by VectorBank.save, found metadata {metadata}")
    names = {code: name for name, code in CODES.items()}
    stored = _tensor(tensors, "vectors", tuple(names), 2, where)
    scales = _tensor(tensors, "scales", ("F32",), 1, where).values if "scales" in tensors else None
    vectors = Vectors(stored.values, names[stored.code], scales, where)
    packed = {
        name: _tensor(tensors, name, (code,), 2 if name in _MATRICES else 1, where).values
        for name, code in _PACKED.items()
        if name in tensors or name in _ALWAYS or (name in _PREFIXES and "prefix" in tensors)
    }
    return BankFile(vectors, packed)


def _format_of(names: Iterable[str]) -> dict[str, str]:
    return FORMAT if {"offsets", *_PREFIXES}.isdisjoint(names) else NEW_FORMAT


def metric_of_packed(packed: dict[str, NDArray[Any]]) -> str:
    """Return the metric of the bank that these arrays are the packed form of."""
    return next((metric for name, metric in _OF_A_METRIC.items() if name in packed), "ip")


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


def check_some_rows(vectors: Vectors, packed: dict[str, NDArray[Any]], where: str) -> None:
    """Pack a few rows again: a packed form that belongs to other vectors would decide wrongly. Raises ValueError."""
    chosen, dim = _some_rows(vectors), vectors.shape[1]
    if "axes" in packed:
        _check_axes(packed["axes"], dim, where)
    try:
        some = matrix_of(_picked(vectors, chosen), "vectors")
        core = Bank(some.rows, metric_of_packed(packed))
        if "axes" in packed:
            add_prefixes(core, Vectors.of(some.given), packed["axes"], metric_of_packed(packed))
        fresh = core.packed()
    except ValueError:
        problem = "the vectors hold a row that no bank takes; expected the file as it was saved"
        raise ValueError(f"{where}: {problem}") from None
    again = np.arange(len(chosen))
    for name, held in packed.items():
        if name == "axes":
            continue
        if name in ("bounds", *_OF_A_METRIC):
            is_alike = np.allclose(held[chosen], fresh[name][again], rtol=0.02, atol=0)
        elif name == "prefix_bounds":
            is_alike = np.allclose(held[chosen, :4], fresh[name][again, :4], rtol=0.02, atol=0)
        elif name == "prefix":  # of rotated numbers, whose last bits depend on the machine
            count = len(packed["axes"])
            apart = _codes(held, chosen, count).astype(int) - _codes(fresh[name], again, count)
            is_alike = np.abs(apart).max() <= 1
        else:
            is_alike = np.array_equal(_codes(held, chosen, dim), _codes(fresh[name], again, dim))
        if not is_alike:
            raise ValueError(f"{where}: '{name}' does not belong to the vectors; expected the file as it was saved")


def _check_axes(axes: Axes, dim: int, where: str) -> None:
    if axes.shape[1] != dim or not are_orthonormal(axes):
        raise ValueError(f"{where}: 'axes': expected orthonormal rows of {dim} numbers, got others")


def digest_of(vectors: Vectors, packed: dict[str, NDArray[Any]]) -> str:
    """Return a digest of a few rows and their packed form: it tells whether a file still holds the bank opened."""
    chosen = _some_rows(vectors)
    parts = [_picked(vectors, chosen).raw, packed["bounds"][chosen]]
    kind = f"{vectors.shape} {vectors.dtype_name} {'factors' in packed}".encode() + b" l2" * ("offsets" in packed)
    return sha256(kind + b"".join(part.tobytes() for part in parts)).hexdigest()


def _some_rows(vectors: Vectors) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, len(vectors) - 1, 64).astype(np.int64))


def _picked(vectors: Vectors, rows: NDArray[np.int64]) -> Vectors:
    """Some rows, as they are stored."""
    scales = None if vectors.scales is None else vectors.scales[rows]
    return Vectors(vectors.raw[rows], vectors.dtype_name, scales, "vectors")


def _codes(plane: NDArray[np.int8], rows: NDArray[np.int64], dim: int) -> NDArray[np.int8]:
    """Some rows of a plane of codes (`csrc/retrieval/codes.h`): (rows, chunks, 64)."""
    tiles = plane.reshape(-1, -(-dim // 64), 16, 64)
    return tiles[rows // 16, :, rows % 16]

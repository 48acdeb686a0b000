"""Arrays of any kind as the core sees them: `Rows` (rows, dim); copied only when the layout demands it."""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

from .._core import Rows

FLOATS = ("float32", "float16", "bfloat16", "float64")


@cache
def dtype_name(dtype: Any) -> str:
    """A numpy or torch dtype's name without its library's prefix, such as "bfloat16"."""
    return str(dtype).removeprefix("torch.")


def is_tensor(x: Any) -> bool:
    """Whether x is a torch tensor; does not import torch."""
    return hasattr(x, "data_ptr")


def rows_of(x: Any, where: str, dtypes: tuple[str, ...] = FLOATS) -> Rows:
    """The rows of x, shape (..., D), flattened to (rows, D), with the memory that they lie in.

    x is a numpy array, a torch CPU tensor or `Vectors` of a store. ValueError, beginning with `where`, for
    another kind, dtype or device, a masked array, and a sparse or nested tensor.
    """
    if not isinstance(x, np.ndarray) and not is_tensor(x):
        if hasattr(x, "dtype_name"):
            return _stored_rows(x, where, dtypes)
        raise ValueError(f"{where}: expected a numpy array or a torch tensor, got {type(x).__name__}")
    name = dtype_name(x.dtype)
    if name not in dtypes:
        raise ValueError(f"{where}: expected {', '.join(dtypes)}, got {name}")
    if not is_tensor(x):
        check_unmasked(x, where)
    elif x.device.type != "cpu":
        raise ValueError(f"{where}: expected a tensor on the CPU, got one on {x.device}")
    elif x.is_nested or str(x.layout) != "torch.strided":
        kind = "a nested one" if x.is_nested else f"one of layout {x.layout}"
        raise ValueError(f"{where}: expected a dense tensor, got {kind}")
    if x.ndim == 0:
        raise ValueError(f"{where}: expected shape (..., D), got a single number")
    return tensor_rows(x) if is_tensor(x) else _array_rows(x)


def check_unmasked(x: Any, where: str) -> None:
    """Raise ValueError, beginning with `where`, for a numpy array with a mask: the core would read what it hides."""
    if isinstance(x, np.ma.MaskedArray):
        raise ValueError(f"{where}: expected an array without a mask, got a masked one; use .filled(value) or .data")


def tensor_rows(x: Any) -> Rows:
    """`rows_of` for a CPU tensor that is known to fit: the short way, for small calls."""
    if x.is_neg():  # torch negates such a tensor when it is read: its memory holds the opposite
        x = x.resolve_neg()
    if x.is_contiguous():
        return Rows(x)
    flat = x.detach().reshape(prod(x.shape[:-1]), x.shape[-1])
    if flat.shape[1] > 1 and flat.stride(1) != 1:
        flat = flat.contiguous()
    return Rows(flat)


def readable(x: Any) -> Any:
    """The array, copied where its numbers are not as the machine has them: of the other byte order, or unaligned."""
    return x if x.flags.aligned and x.dtype.isnative else x.astype(x.dtype.newbyteorder("="))


def _array_rows(x: Any) -> Rows:
    *leading, dim = x.shape
    flat = readable(x).reshape(prod(leading), dim)
    if dim > 1 and (flat.strides[1] != flat.itemsize or flat.strides[0] % flat.itemsize):
        flat = np.ascontiguousarray(flat)
    return Rows(flat)


def _stored_rows(vectors: Any, where: str, dtypes: tuple[str, ...]) -> Rows:
    if vectors.dtype_name not in (*dtypes, "int8"):
        raise ValueError(f"{where}: expected {', '.join(dtypes)} or int8, got {vectors.dtype_name}")
    raw = np.ascontiguousarray(vectors.raw)  # no copy where the rows lie together
    scales = None if vectors.scales is None else np.ascontiguousarray(vectors.scales, dtype=np.float32)
    return Rows(raw, scales, vectors.dtype_name == "bfloat16")

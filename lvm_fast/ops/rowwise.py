"""`l2_normalize` and `reconstruct` for numpy arrays and torch tensors."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._core import normalize_rows
from .row_checks import argument_names, check_eps, check_result, check_same_memory, raise_fault
from .rows import FLOATS, check_unmasked, readable, rows_of

if TYPE_CHECKING:
    import torch

    RowsLike = TypeVar("RowsLike", NDArray[Any], torch.Tensor)


def l2_normalize(x: RowsLike, eps: float = 1e-8, out: RowsLike | None = None) -> RowsLike:
    """x / (||x|| + eps) along the last dimension; a zero row stays zero.

    Args:
        x: (..., D), float32, float16, bfloat16 (computed in float32) or float64; any strides. A numpy array or a torch
            tensor (differentiable; works under torch.compile).
        eps: Added to the norm; greater than 0.
        out: Where to write: contiguous, of x's shape and dtype. May be x itself. What it holds after an error is
            undefined.

    Returns:
        (..., D), of x's kind and dtype; `out` if given.

    Raises:
        ValueError: x is not such an array, or a row of it holds NaN or infinity (checked on the CPU only).
    """
    if isinstance(x, np.ndarray):
        return _normalize_numpy("l2_normalize", x, None, eps, out)
    from . import rowwise_torch

    return rowwise_torch.normalize("l2_normalize", x, None, eps, out)


def reconstruct(current: RowsLike, delta: RowsLike, eps: float = 1e-8, out: RowsLike | None = None) -> RowsLike:
    """l2_normalize(current + delta) in one pass: the next vector from the current one and a model's delta.

    Args:
        current: (..., D), as x of `l2_normalize`.
        delta: (..., D), the same shape and kind; where the dtypes differ both are promoted as in `current + delta`.
        eps: Added to the norm; greater than 0.
        out: Where to write: contiguous, of the result's shape and dtype. May be `current` or `delta` itself. What it
            holds after an error is undefined.

    Returns:
        (..., D), of the arguments' kind; `out` if given.

    Raises:
        ValueError: as `l2_normalize`, the shapes differ, or the dtypes have none in common.
    """
    if delta is None:
        raise ValueError("reconstruct: delta: expected an array of current's shape, got None")
    if isinstance(current, np.ndarray):
        return _normalize_numpy("reconstruct", current, delta, eps, out)
    from . import rowwise_torch

    return rowwise_torch.normalize("reconstruct", current, delta, eps, out)


def _common_dtype(op: str, x: np.dtype[Any], delta: np.dtype[Any]) -> np.dtype[Any]:
    if {x.name, delta.name} <= set(FLOATS):
        with suppress(TypeError):  # float16 and bfloat16 have none
            return np.promote_types(x, delta)
    raise ValueError(f"{op}: expected {', '.join(FLOATS)} that promote to one of them, got {x.name} and {delta.name}")


def _normalize_numpy(
    op: str, x: NDArray[Any], delta: NDArray[Any] | None, eps: float, out: NDArray[Any] | None
) -> NDArray[Any]:
    check_eps(op, eps)
    first, second = argument_names(op)
    if delta is not None:
        if not isinstance(delta, np.ndarray):
            raise ValueError(f"{op}: {second}: expected a numpy array like {first}, got {type(delta).__name__}")
        if delta.shape != x.shape:
            raise ValueError(f"{op}: {second}: expected shape {x.shape} like {first}, got {delta.shape}")
        if delta.dtype != x.dtype:
            common = _common_dtype(op, x.dtype, delta.dtype)
            x, delta = x.astype(common), delta.astype(common)
    x = readable(x)
    x_rows, x_memory = rows_of(x, f"{op}: {first}")
    delta_rows, delta_memory = (None, None) if delta is None else rows_of(delta, f"{op}: {second}")
    if out is None:
        out = np.empty(x.shape, x.dtype)
    elif not isinstance(out, np.ndarray) or not out.flags.behaved or not out.dtype.isnative:
        expected = "a writable numpy array, aligned and in the machine's byte order"
        got = "one that is not" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"{op}: out: expected {expected}, got {got}")
    check_unmasked(out, f"{op}: out")
    check_result(op, out, x, out.flags.c_contiguous)
    for memory in (x_memory, delta_memory):
        if memory is not None and np.may_share_memory(memory, out):
            check_same_memory(op, memory.ctypes.data == out.ctypes.data and memory.flags.c_contiguous)
    raise_fault(op, normalize_rows(x_rows, delta_rows, out.ctypes.data, eps))
    return out

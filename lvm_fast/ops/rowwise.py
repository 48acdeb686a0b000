"""The row kernels, for numpy arrays and torch tensors alike, and the settings of the compute core."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from .. import _core
from .._core import normalize_rows, num_threads, simd_level, simd_levels
from .._util.numbers import whole_number
from .rows import FLOATS, check_unmasked, dtype_name, readable, rows_of

if TYPE_CHECKING:
    import torch

    RowsLike = TypeVar("RowsLike", NDArray[Any], torch.Tensor)

__all__ = [
    "l2_normalize",
    "num_threads",
    "reconstruct",
    "set_num_threads",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]


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


def set_num_threads(count: int) -> None:
    """Set how many threads the core may use, the caller's included.

    Args:
        count: From 1 to 1,024.

    Raises:
        ValueError: another number, or none.
        RuntimeError: called by a signal handler in the middle of a call of the core.
    """
    number = whole_number(count, "set_num_threads")
    if not 1 <= number <= 1024:
        raise ValueError(f"set_num_threads: expected a whole number from 1 to 1024, got '{number}'")
    _core.set_num_threads(number)


def set_simd_level(name: str) -> None:
    """Force an instruction set, one of `simd_levels()`. Raises ValueError for another."""
    try:
        _core.set_simd_level(name)
    except TypeError:  # no text
        levels = ", ".join(simd_levels())
        raise ValueError(f"set_simd_level: expected an instruction set of this CPU ({levels}), got {name!r}") from None


def argument_names(op: str) -> tuple[str, str]:
    return ("x", "") if op == "l2_normalize" else ("current", "delta")


def check_eps(op: str, eps: float) -> None:
    if not 0 < eps < float("inf"):
        raise ValueError(f"{op}: expected eps > 0 and finite, got {eps}")


def check_result(op: str, out: Any, like: Any, contiguous: bool) -> None:
    """ValueError unless `out` has the shape and dtype of `like` and is contiguous."""
    if out.shape != like.shape or out.dtype != like.dtype:
        expected, got = (f"{dtype_name(a.dtype)} {tuple(a.shape)}" for a in (like, out))
        raise ValueError(f"{op}: out: expected {expected}, got {got}")
    if not contiguous:
        raise ValueError(f"{op}: out: expected a contiguous array, got strides in another order")


def check_same_memory(op: str, is_same: bool) -> None:
    """ValueError where `out` shares memory with an argument and is not exactly that argument."""
    if not is_same:
        raise ValueError(f"{op}: out: expected memory of its own or exactly an argument's, got a partial overlap")


def raise_fault(op: str, fault: tuple[int, int] | None) -> None:
    """ValueError if the core found a row that is not finite."""
    if fault is not None:
        row, argument = fault
        name = argument_names(op)[argument]
        raise ValueError(f"{op}: {name} row {row} holds NaN or infinity; expected finite numbers")


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

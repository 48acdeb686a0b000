"""Checks what a bank is given and asked (rows, ids, numbers), and brings it to the form that the core reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._core import Rows
from .._util.numbers import whole_number
from ..ops.rows import check_unmasked, dtype_name, is_tensor, rows_of

Result = TypeVar("Result")

SCORED = ("float32", "float16", "bfloat16")

_WHOLE = (
    "int16",
    "int32",
    "int64",
    "uint16",
    "uint32",
    "uint64",
)  # not 8 bits: those are codes, whose scales are missing
_MOST_WHOLE = 1 << 24  # float32 holds every whole number up to it
_LEAST = float(np.finfo(np.float32).tiny)
_NUMBERS_AT_ONCE = 1 << 21
_BEGINS_WITH_NAME = re.compile(r"(\w*)(.*)", re.DOTALL)


class Names(NamedTuple):
    """The names in which errors are said.

    Attributes:
        where: The function that was called.
        arguments: Its own names of a bank's arguments, where they differ.
    """

    where: str
    arguments: Mapping[str, str] = MappingProxyType({})

    def of(self, argument: str) -> str:
        """Return what an error of an argument begins with."""
        return f"{self.where}: {self.arguments.get(argument, argument)}"


class Matrix(NamedTuple):
    """Rows as the core takes them."""

    rows: Rows
    given: Any  # (rows, D): the array, tensor or `Vectors` itself, or what it was converted to
    is_single: bool  # one vector (D,) was given

    def answer(self, rows: NDArray[Any]) -> Any:
        """Return the answers (B, ...), or that of the single query."""
        return rows[0] if self.is_single else rows


def matrix_of(x: Any, where: str) -> Matrix:
    """Return the rows of x, (rows, D): float32, float16 and bfloat16 where they lie, others in a float32 copy.

    Raises:
        ValueError: x is no matrix of numbers that float32 can hold; the message begins with `where`.
    """
    if is_tensor(x):
        _check_tensor(x, where)
    given = _scored(x if is_tensor(x) else array_of(x, where), where)
    if given.ndim != 2:
        raise ValueError(f"{where}: expected shape (rows, D), got {tuple(given.shape)}")
    given = _row_by_row(given)
    return Matrix(rows_of(given, where, SCORED), given, is_single=False)


def queries_of(x: Any, dim: int, where: str) -> Matrix:
    """Return the rows of queries (B, D) on any device, or of one query (D,)."""
    array = array_of(x, where)
    if array.ndim not in (1, 2):
        raise ValueError(f"{where}: expected shape (B, D) or (D,), got {tuple(array.shape)}")
    is_single = array.ndim == 1
    matrix = matrix_of(array.reshape(1, -1) if is_single else array, where)
    if matrix.rows.dim != dim:
        raise ValueError(f"{where}: expected {dim} columns like the bank, got {matrix.rows.dim}")
    return matrix._replace(is_single=is_single)


def array_of(x: Any, where: str) -> Any:
    """A tensor on the CPU, `Vectors` or an array: x itself, or what torch or numpy make of it. Raises ValueError."""
    if is_tensor(x):
        _check_tensor(x, where)
        return x.cpu()
    return x if hasattr(x, "dtype_name") else plain_array(x, where)


def ids_of(x: Any, where: str) -> NDArray[np.int64]:
    """Return whole-number ids of any shape as int64. Raises ValueError beginning with `where`."""
    ids = plain_array(x, where)
    if ids.size and not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"{where}: expected whole-number ids, got {ids.dtype}")
    if ids.dtype == np.uint64 and ids.size and ids.max() >= 2**63:
        raise ValueError(f"{where}: expected ids below 2^63, got {ids.max()}")
    return np.ascontiguousarray(ids, dtype=np.int64).reshape(ids.shape)


def one_id_a_query(x: Any, queries: Matrix, where: str) -> NDArray[np.int64]:
    """Return (B,) ids; of a single query one id is given, of no dimension."""
    ids = ids_of(x, where)
    expected = () if queries.is_single else (queries.rows.rows,)
    if ids.shape != expected:
        raise ValueError(f"{where}: expected shape {expected}, got {ids.shape}")
    return ids.reshape(queries.rows.rows)


def ids_a_query(x: Any, queries: Matrix, size: int, where: str) -> NDArray[np.int64]:
    """Return (B, E) ids below `size`, or -1; of a single query (E,)."""
    ids = ids_of(x, where)
    if queries.is_single and ids.ndim == 1:
        ids = ids[None]
    elif queries.is_single or ids.ndim != 2 or len(ids) != queries.rows.rows:
        expected = "(E,)" if queries.is_single else f"({queries.rows.rows}, E)"
        raise ValueError(f"{where}: expected shape {expected}, got {ids.shape}")
    if ids.size and not (ids.min() >= -1 and ids.max() < size):
        raise ValueError(f"{where}: expected ids in [0, {size}) or -1, got others")
    return ids


def one_number_a_query(x: Any, queries: Matrix, where: str) -> NDArray[np.float64]:
    """Return (B,) float64, infinite or not but no NaN; of a single query one number is given, of no dimension."""
    array = plain_array(x, where)
    if array.dtype.kind not in "fiu" or array.shape != (() if queries.is_single else (queries.rows.rows,)):
        raise ValueError(f"{where}: expected {queries.rows.rows} numbers, got {array.dtype} of shape {array.shape}")
    numbers = np.ascontiguousarray(array, dtype=np.float64).reshape(queries.rows.rows)
    if np.isnan(numbers).any():
        raise ValueError(f"{where}: expected {queries.rows.rows} numbers, got NaN")
    return numbers


def at_least_one(x: Any, where: str) -> int:
    """Return a whole number from 1 that the core can hold. Raises ValueError beginning with `where`."""
    number = whole_number(x, where)
    if not 1 <= number < 2**63:
        raise ValueError(f"{where}: expected at least 1 and below 2^63, got {number}")
    return number


def float32_of(scores: NDArray[np.float64]) -> NDArray[np.float32]:
    """Round scores (B, k) to float32, infinite past its range."""
    narrow = np.empty(scores.shape, np.float32)
    with np.errstate(over="ignore"):
        for block in blocks_of(*scores.shape):
            narrow[block] = scores[block]
    return narrow


def blocks_of(rows: int, width: int) -> Iterator[slice]:
    """Return slices of rows that are each worked through quickly, so that signals are noticed in between."""
    step = max(1, _NUMBERS_AT_ONCE // max(1, width))
    return (slice(first, first + step) for first in range(0, rows, step))


def renamed(names: str | Names, call: Callable[..., Result], *arguments: Any) -> Result:
    """Call the core, whose errors begin with the argument at fault; the error raised says it in the caller's names."""
    names = Names(names) if isinstance(names, str) else names
    try:
        return call(*arguments)
    except ValueError as error:
        argument, rest = _BEGINS_WITH_NAME.match(str(error)).groups()  # type: ignore[union-attr]
        raise ValueError(f"{names.of(argument)}{rest}") from None


def _check_tensor(x: Any, where: str) -> None:
    if x.is_nested or str(x.layout) != "torch.strided":
        kind = "a nested one" if x.is_nested else f"one of layout {x.layout}"
        raise ValueError(f"{where}: expected a dense tensor, got {kind}")
    try:
        has_memory = x.numel() == 0 or x.data_ptr() != 0
    except RuntimeError:  # inside a transform of torch.func
        has_memory = False
    if not has_memory:
        raise ValueError(f"{where}: expected a tensor that holds its numbers, got a {type(x).__name__} without any")


def plain_array(x: Any, where: str) -> NDArray[Any]:
    """Return a numpy array in the machine's byte order, of an array, a tensor, numbers, or lists of them."""
    _check_no_masks(x, where)
    if is_tensor(x):
        _check_tensor(x, where)
        x = x.detach().cpu().resolve_neg()
    try:
        array = np.asarray(x)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        problem = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{where}: expected an array of numbers, got a {type(x).__name__}: {problem}") from None
    if array.dtype.kind == "O":
        raise ValueError(f"{where}: expected a numpy array or a torch tensor, got {type(x).__name__}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _check_no_masks(x: Any, where: str) -> None:
    check_unmasked(x, where)
    if isinstance(x, list | tuple):
        for item in x:
            _check_no_masks(item, where)


def _scored(x: Any, where: str) -> Any:
    """Return x where the core scores it as it is, or a float32 copy of float64 and whole numbers."""
    name = x.dtype_name if hasattr(x, "dtype_name") else dtype_name(x.dtype)
    if name != "float64" and name not in _WHOLE:
        return x  # others are refused by their dtype
    array = plain_array(x, where)
    if array.ndim != 2:
        return array
    lost = _lost_whole if array.dtype.kind in "iu" else _lost_float64
    narrow = np.empty(array.shape, np.float32)
    for block in blocks_of(*array.shape):
        bad = lost(array[block]) if array.shape[1] else None
        if bad is not None:
            row, problem = bad
            raise ValueError(f"{where}: row {block.start + row} holds {problem}")
        narrow[block] = array[block]
    return narrow


def _row_by_row(x: Any) -> Any:
    """Return x, or a copy where the numbers of a row lie apart."""
    if hasattr(x, "dtype_name") or x.shape[1] < 2:
        return x
    apart = x.stride(1) != 1 if is_tensor(x) else x.strides[1] != x.itemsize
    if not apart:
        return x
    made = x.new_empty(x.shape) if is_tensor(x) else np.empty(x.shape, x.dtype)
    for block in blocks_of(*x.shape):
        made[block] = x[block].detach() if is_tensor(x) else x[block]
    return made


def _lost_whole(block: NDArray[Any]) -> tuple[int, str] | None:
    """Return the first row of whole numbers that float32 has not, and what is wrong with it."""
    most, least = block.max(axis=1), block.min(axis=1)
    rows = np.flatnonzero((most > _MOST_WHOLE) | (least < -_MOST_WHOLE))
    if len(rows) == 0:
        return None
    row = int(rows[0])
    number = int(most[row]) if most[row] > _MOST_WHOLE else int(least[row])
    return row, f"{number}; expected whole numbers up to 2^24, beyond which float32 has gaps"


def _lost_float64(block: NDArray[np.float64]) -> tuple[int, str] | None:
    """The first row whose largest number float32 cannot hold, and what is wrong with it; NaN and infinity it can."""
    most = np.maximum(block.max(axis=1), -block.min(axis=1))
    with np.errstate(over="ignore"):
        too_large = np.isfinite(most) & np.isinf(most.astype(np.float32))
    rows = np.flatnonzero(too_large | ((most > 0) & (most < _LEAST)))
    if len(rows) == 0:
        return None
    return int(rows[0]), f"{most[rows[0]]:g} as its largest number; expected float32's range, 1e-38 to 3e38"

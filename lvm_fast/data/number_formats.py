"""The four stored number formats: float32, float16, bfloat16 (kept as uint16 bits) and int8 with one scale a row."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]
Raw = npt.NDArray[Any]

RAW_DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float16),
    "bfloat16": np.dtype(np.uint16),
    "int8": np.dtype(np.int8),
}


def widen(raw: Raw, dtype_name: str, scales: Raw | None = None) -> Float32:
    """Give stored values as float32; exact, except that int8 * scale is rounded once.

    Args:
        raw: (..., D) in `RAW_DTYPES[dtype_name]`.
        scales: (...) float32, for int8 only.
    """
    if dtype_name == "bfloat16":
        bits: Raw = raw.astype(np.uint32) << np.uint32(16)
        return bits.view(np.float32)
    values: Float32 = raw.astype(np.float32)
    if scales is not None:
        values *= np.asarray(scales)[..., None]
    return values


def narrow(rows: Float32, dtype_name: str) -> tuple[Raw, Float32 | None]:
    """Round float32 rows (B, D) to a stored format, nearest with ties to even.

    Returns:
        (B, D) in `RAW_DTYPES[dtype_name]`, and the scales (B,) for int8, else None.
    """
    if dtype_name == "int8":
        return quantize_int8(rows)
    if dtype_name == "bfloat16":
        bits = np.ascontiguousarray(rows).view(np.uint32)
        return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(
            np.uint16
        ), None
    with np.errstate(over="ignore"):  # an overflow becomes Inf, which the caller's check reports by row
        return rows.astype(RAW_DTYPES[dtype_name]), None


def quantize_int8(rows: Float32) -> tuple[npt.NDArray[np.int8], Float32]:
    """Symmetric int8 with one scale a row: scale = max|x| / 127, values rounded half to even.

    Args:
        rows: (B, D) float32, finite, no zero row.

    Returns:
        int8 values (B, D) and float32 scales (B,), with rows ~ values * scales[:, None].

    Raises:
        ValueError: a row holds NaN or Inf, or is too near zero to have a scale.
    """
    check_rows(rows, "quantize_int8: rows")
    scales: Float32 = np.abs(rows).max(axis=1) / np.float32(127)
    if not scales.all():
        raise ValueError(f"quantize_int8: rows: row {int(np.argmin(scales))} is too small for a float32 scale")
    return np.rint(rows / scales[:, None]).astype(np.int8), scales


def check_rows(rows: Float32, where: str, first: int = 0) -> None:
    """Raise ValueError for the first row of (B, D) that holds NaN or Inf, or is all zeros; rows count from `first`."""
    with np.errstate(all="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    # Squares can overflow or underflow on good rows, so only these few suspects are looked at closely.
    for row in np.flatnonzero(~(np.isfinite(squares) & (squares > 0))).tolist():
        if not np.isfinite(rows[row]).all():
            raise ValueError(f"{where}: row {first + row} holds NaN or Inf; expected finite numbers")
        if not rows[row].any():
            raise ValueError(f"{where}: row {first + row} is all zeros; expected a vector with a direction")

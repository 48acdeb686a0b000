"""Stores matrices in fewer bits: int8 with a scale for each row, or k-means palettes for each group of rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

COMPRESSIONS = ("int8", "palette6", "palette4")
# the least cosine of a next vector with the model's; a trained model reached 0.999999, 0.99998, 0.9997 and 0.995 in the
# interpreter, and a device adds the float16 errors of its own sums
LEAST_COSINES: dict[str | None, float] = {None: 0.999, "int8": 0.999, "palette6": 0.998, "palette4": 0.97}

_LEAST = 2048  # numbers; compressing a smaller matrix is not worth it (coremltools' own default)
_GROUP = 16  # rows that share a palette
_ROUNDS = 30  # of k-means; measured within 3% of the best palette, on weights of trained models
_LARGEST = 127


@dataclass(frozen=True)
class Quantized:
    """Holds a matrix as ``scale * data``.

    Attributes:
        data: int8 (..., R, C), from -127 to 127.
        scale: One for each row, (..., R, 1), float16 or float32.
    """

    data: NDArray[np.int8]
    scale: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.scale.dtype

    def values(self) -> NDArray[Any]:
        """Return the matrix in the dtype of the scale; infinite where that cannot hold a product."""
        with np.errstate(over="ignore"):
            values: NDArray[Any] = self.data.astype(self.scale.dtype) * self.scale
        return values

    def fault(self, exact: NDArray[np.float32]) -> str | None:
        """Say what rounding does not explain, given the matrix it was made from; None if nothing.

        The scales must be those of the matrix, and each number the nearest multiple of its scale.
        """
        wanted = _scales(exact, self.scale.dtype)
        if not np.array_equal(self.scale, wanted):
            return f"has {_count(self.scale != wanted)} scales wrong"
        infinite = ~np.isfinite(self.values())
        if infinite.any():
            return f"has {_count(infinite)} numbers that are infinite in {self.dtype}"
        errors = np.abs(self.data * self.scale.astype(np.float64) - exact)
        wrong = ~(errors <= 0.5001 * self.scale.astype(np.float64))  # NaN is wrong, too
        return f"has {_count(wrong)} numbers that are not the nearest multiple of their scale" if wrong.any() else None


@dataclass(frozen=True)
class Palettized:
    """Holds a matrix as indices into palettes, one palette for each group of consecutive rows.

    Attributes:
        indices: uint8 (..., R, C), below the length of a palette.
        palettes: (..., R / rows of a group, 1, entries, 1), ascending; float16 or float32. The shape is Core ML's.
    """

    indices: NDArray[np.uint8]
    palettes: NDArray[Any]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.indices.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.palettes.dtype

    @property
    def bits(self) -> int:
        """Bits of an index."""
        return int(self.palettes.shape[-2]).bit_length() - 1

    def values(self) -> NDArray[Any]:
        """Return the matrix in the dtype of the palettes."""
        indices = self._grouped(self.indices).astype(np.int64)  # (G, n)
        values: NDArray[Any] = np.take_along_axis(self._entries(), indices, axis=1)
        return values.reshape(self.shape)

    def fault(self, exact: NDArray[np.float32]) -> str | None:
        """Say what rounding does not explain, given the matrix it was made from; None if nothing.

        Each number must be the nearest entry of its palette, and no palette worse than evenly spaced entries.
        """
        groups = self._grouped(exact).astype(np.float64)  # (G, n)
        entries = self._entries().astype(np.float64)  # (G, entries)
        errors = np.abs(self._grouped(self.values()) - groups)
        nearest = np.stack([np.abs(_nearest(row, group) - group) for row, group in zip(entries, groups, strict=True)])
        wrong = ~(errors <= nearest * 1.0001)  # NaN is wrong, too
        if wrong.any():
            return f"has {_count(wrong)} numbers that are not the nearest entry of their palette"
        steps = np.ptp(groups, axis=1) / (entries.shape[1] - 1)  # (G,) between evenly spaced entries
        limits = np.finfo(self.palettes.dtype)
        rounding = np.abs(groups).max(axis=1) * limits.eps + limits.smallest_subnormal
        poor = np.sqrt(np.square(errors).mean(axis=1)) > steps / math.sqrt(12) + rounding
        return f"has {_count(poor)} palettes worse than evenly spaced ones" if poor.any() else None

    def _grouped(self, matrix: NDArray[Any]) -> NDArray[Any]:
        return matrix.reshape(math.prod(self.palettes.shape[:-2]), -1)

    def _entries(self) -> NDArray[Any]:
        return self.palettes.reshape(-1, self.palettes.shape[-2])


Stored: TypeAlias = NDArray[Any] | Quantized | Palettized  # how a package holds a constant


def compress(matrix: NDArray[np.float32], compression: str | None, dtype: str) -> Stored:
    """Return a matrix as a package stores it.

    Args:
        matrix: (..., R, C) float32, finite.
        compression: "int8", "palette6", "palette4", or None for no compression.
        dtype: "float16" or "float32": of uncompressed numbers, of scales and of palettes.

    Returns:
        The compressed matrix; or the array in `dtype` if there is no compression, or it is small or no matrix.
    """
    if compression is None or matrix.ndim < 2 or matrix.size < _LEAST:
        return matrix.astype(dtype)
    if compression == "int8":
        return quantize(matrix, dtype)
    return _palettize(matrix, 1 << int(compression.removeprefix("palette")), np.dtype(dtype))


def quantize(matrix: NDArray[np.float32], dtype: str) -> Quantized:
    """Round a matrix (..., R, C) to int8 with scales of `dtype`, one for each row."""
    scale = _scales(matrix, np.dtype(dtype))
    data = np.rint(matrix / scale.astype(np.float64))
    return Quantized(data.astype(np.int8), scale)


def _scales(matrix: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the smallest scales of `dtype` with which no number is beyond 127, and no product is infinite.

    Rows of zeros have a scale of 1.
    """
    largest = np.abs(matrix).max(axis=-1, keepdims=True).astype(np.float64)  # (..., R, 1)
    scale = np.where(largest > 0, largest / _LARGEST, 1.0).astype(dtype)
    too_small = scale * np.float64(_LARGEST + 0.49) < largest  # a tiny scale may have lost digits, or become zero
    scale = np.where(too_small, np.nextafter(scale, dtype.type(np.inf)), scale)
    with np.errstate(over="ignore"):
        too_large = np.isinf(scale * dtype.type(_LARGEST))  # near the end of `dtype`, where a step of a scale is small
    return np.where(too_large, np.nextafter(scale, dtype.type(0)), scale)


def _palettize(matrix: NDArray[np.float32], entries: int, dtype: np.dtype[Any]) -> Palettized:
    *leading, rows, _ = matrix.shape
    shared = math.gcd(rows, _GROUP)
    groups = matrix.reshape(math.prod(leading) * (rows // shared), -1).astype(np.float64)  # (G, n)
    palettes = np.stack([_k_means(group, entries) for group in groups]).astype(dtype)  # (G, entries)
    indices = np.stack([_places(row, group) for row, group in zip(palettes.astype(np.float64), groups, strict=True)])
    return Palettized(
        indices.astype(np.uint8).reshape(matrix.shape),
        palettes.reshape(*leading, rows // shared, *[1] * (matrix.ndim - len(leading) - 1), entries, 1),
    )


def _k_means(values: NDArray[np.float64], entries: int) -> NDArray[np.float64]:
    """Return the least-squares palette of some numbers, ascending: Lloyd's algorithm on sorted numbers and their sums.

    It starts with entries whose density is the cube root of the numbers' density, the best for many entries (Panter
    and Dite, 1951): the gaps between sorted numbers, each to the power 2/3, add up to equal parts.
    """
    ordered = np.sort(values)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    spread = np.concatenate(([0.0], np.cumsum(np.diff(ordered) ** (2 / 3))))
    palette = np.interp((np.arange(entries) + 0.5) / entries * spread[-1], spread, ordered)
    for _ in range(_ROUNDS):
        bounds = np.concatenate(([0], np.searchsorted(ordered, _midpoints(palette)), [len(ordered)]))
        counts = np.diff(bounds)
        palette = np.where(counts > 0, np.diff(sums[bounds]) / np.maximum(counts, 1), palette)
    return np.sort(palette)


def _places(palette: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the index of the nearest entry of an ascending palette, for each value."""
    return np.searchsorted(_midpoints(palette), values)


def _nearest(palette: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    ordered = np.sort(palette)
    return ordered[_places(ordered, values)]


def _midpoints(palette: NDArray[np.float64]) -> NDArray[np.float64]:
    return (palette[1:] + palette[:-1]) / 2


def _count(wrong: NDArray[np.bool_]) -> str:
    return f"{int(wrong.sum()):,} of {wrong.size:,}"

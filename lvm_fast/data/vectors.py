"""`Vectors`: rows in their stored format (often a memory map) that read as float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .quantize import RAW_DTYPES, Float32, Raw, widen

_BLOCK_BYTES = 8 << 20


class Vectors:
    """T rows of D numbers, kept as stored and given out as float32.

    Indexing with an int, slice, or integer or boolean array copies the chosen rows to float32;
    `np.asarray(vectors)` gives all of them (for stored float32 the map itself, read-only).

    Attributes:
        raw: (T, D), in the numpy dtype of the format; bfloat16 as its uint16 bits.
        dtype_name: "float32", "float16", "bfloat16" or "int8".
        scales: (T,) float32 for int8, else None.
    """

    ndim = 2
    dtype = np.dtype(np.float32)  # of what indexing returns; `dtype_name` says what is stored

    def __init__(self, raw: Raw, dtype_name: str, scales: Any = None, where: str = "Vectors") -> None:
        """Wrap stored rows without reading them.

        Raises:
            ValueError: `raw` is not two-dimensional or is empty, or `scales` (T,) is missing, surplus or not positive.
        """
        if raw.ndim != 2 or 0 in raw.shape:
            raise ValueError(f"{where}: vectors has shape {raw.shape}; expected (T, D), neither of them 0")
        self.raw = raw
        self.dtype_name = dtype_name
        self.scales = _checked_scales(scales, len(raw), dtype_name, where)
        self.shape: tuple[int, int] = (raw.shape[0], raw.shape[1])

    @classmethod
    def of(cls, vectors: Any, scales: Any = None, where: str = "Vectors") -> Vectors:
        """Wrap a numpy array, a torch tensor or `Vectors`, (T, D), without converting it.

        Raises:
            ValueError: another dtype than the four that can be stored, or as the constructor.
        """
        if not isinstance(vectors, cls):
            return cls(*_raw_array(vectors, where), scales, where)
        if scales is not None:
            raise ValueError(f"{where}: scales was given, but the vectors already carry theirs")
        return vectors

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Float32:
        return widen(self.raw[rows], self.dtype_name, None if self.scales is None else self.scales[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Raw:
        if self.dtype_name == "float32":
            return np.array(self.raw, dtype=dtype) if copy else np.asarray(self.raw, dtype=dtype)
        if copy is False:
            raise ValueError(f"Vectors: {self.dtype_name} rows cannot be read as float32 without a copy")
        values = np.empty(self.shape, dtype=np.float32)
        for first, block in self.blocks():
            values[first : first + len(block)] = block[:]
        return values if dtype is None else values.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"Vectors(shape={self.shape}, stored={self.dtype_name})"

    def select(self, rows: Any) -> Vectors:
        """Rows as stored: a view for a slice, one gathered copy for an index array."""
        return Vectors(self.raw[rows], self.dtype_name, None if self.scales is None else self.scales[rows])

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """Walk over (first row, a view of some megabytes of rows), so that work on huge maps stays in little memory."""
        step = max(1, _BLOCK_BYTES // (4 * self.shape[1]))
        for first in range(0, len(self), step):
            yield first, self.select(slice(first, first + step))


def _raw_array(vectors: Any, where: str) -> tuple[Raw, str]:
    """The values as numpy sees them, and the name of their format."""
    if type(vectors).__module__.partition(".")[0] == "torch":
        import torch

        tensor = vectors.detach().cpu()
        vectors = tensor.view(torch.uint16).numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()
        name = str(tensor.dtype).removeprefix("torch.")
    else:
        vectors = np.asarray(vectors)
        name = vectors.dtype.name if vectors.dtype.isnative else f"{vectors.dtype.name} of foreign byte order"
    if name not in RAW_DTYPES:
        raise ValueError(f"{where}: vectors has dtype {name}; expected one of {', '.join(RAW_DTYPES)}")
    return vectors.view(RAW_DTYPES[name]), name


def _checked_scales(scales: Any, rows: int, dtype_name: str, where: str) -> Float32 | None:
    if scales is None:
        if dtype_name == "int8":
            raise ValueError(f"{where}: int8 vectors came without scales; expected float32 scales of shape ({rows},)")
        return None
    if dtype_name != "int8":
        raise ValueError(f"{where}: scales came with {dtype_name} vectors; expected scales only with int8")
    array: Float32 = np.asarray(scales)
    if array.dtype != np.float32 or array.shape != (rows,):
        raise ValueError(
            f"{where}: scales is {array.dtype} of shape {array.shape}; expected float32 of shape ({rows},)"
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(bad):
        raise ValueError(f"{where}: scales[{bad[0]}] = {array[bad[0]]}; expected a finite number above 0")
    return array

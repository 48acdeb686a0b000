"""`Vectors`: rows in their stored format (often a memory map) that read as float32."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .joined_rows import JoinedRows
from .number_formats import RAW_DTYPES, Float32, Int64, Raw, widen
from .safetensors_file import Tensor, read_tensors

CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "int8": "I8"}
_NAMES = {code: name for name, code in CODES.items()}
_BLOCK_BYTES = 8 << 20
_PROBED = 64  # rows that tell whether a file is still the one that was opened


class Vectors:
    """T rows of D numbers, kept as stored and given out as float32.

    Indexing with an int, slice, or integer or boolean array copies the chosen rows to float32;
    `np.asarray(vectors)` gives all of them (for stored float32 the map itself, read-only). The rows of a whole file are
    pickled as its path, rows of several files as the paths and where the rows lie in them.

    Attributes:
        raw: (T, D), in the numpy dtype of the format; bfloat16 as its uint16 bits. An array, or `JoinedRows`.
        dtype_name: "float32", "float16", "bfloat16" or "int8".
        scales: (T,) float32 for int8, else None; an array, or `JoinedRows`.
        path: the file that these are all the rows of, or None.
        shards: the files that `raw` joins, in order; none for rows of one file or in memory.
    """

    ndim = 2
    dtype = np.dtype(np.float32)  # of what indexing returns; `dtype_name` says what is stored

    def __init__(self, raw: Raw | JoinedRows, dtype_name: str, scales: Any = None, where: str = "Vectors") -> None:
        """Wrap stored rows without reading them.

        Raises:
            ValueError: `raw` is not two-dimensional or is empty, or `scales` (T,) is missing, surplus or not positive.
        """
        if raw.ndim != 2 or 0 in raw.shape:
            raise ValueError(f"{where}: vectors has shape {raw.shape}; expected (T, D), neither of them 0")
        self.raw: Any = raw
        self.dtype_name = dtype_name
        self.scales = _checked_scales(scales, len(raw), dtype_name, where)
        self.shape: tuple[int, int] = (raw.shape[0], raw.shape[1])
        self.path: str | None = None
        self.shards: tuple[str, ...] = ()

    @property
    def is_joined(self) -> bool:
        """Whether the rows lie in several places, and are read only where they are indexed."""
        return isinstance(self.raw, JoinedRows)

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
        chosen = self.raw[rows]
        if self.dtype_name == "float32":  # gathered rows are a copy already
            values: Float32 = chosen if chosen.flags.owndata else chosen.copy()
            return values
        return widen(chosen, self.dtype_name, None if self.scales is None else self.scales[rows])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Raw:
        if self.dtype_name == "float32":
            return np.array(self.raw, dtype=dtype) if copy else np.asarray(self.raw, dtype=dtype)
        if copy is False:
            raise ValueError(f"Vectors: {self.dtype_name} rows cannot be read as float32 without a copy")
        values = np.empty(self.shape, dtype=np.float32)
        for first, block in self.blocks():
            values[first : first + len(block)] = block[:]
        return values if dtype is None else values.astype(dtype, copy=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if isinstance(self.raw, JoinedRows) and self.shards:
            return _join_again, (self.shards, self.raw.runs, self.dtype_name, self.shape, self._probe())
        if self.path is None:
            return Vectors, (np.asarray(self.raw), self.dtype_name, self._all_scales())
        return _map_again, (self.path, self.dtype_name, self.shape, self._probe())

    def __copy__(self) -> Vectors:
        return self.select(slice(None)) if self.path is None else self

    def __deepcopy__(self, memo: dict[int, Any]) -> Vectors:
        del memo
        if self.path is not None or self.is_joined:  # nobody can write to a map
            return self
        scales = self._all_scales()
        return Vectors(np.array(self.raw), self.dtype_name, None if scales is None else scales.copy())

    def _all_scales(self) -> Raw | None:
        return None if self.scales is None else np.asarray(self.scales)

    def _probe(self) -> str:
        """Return a digest of some rows, spread evenly."""
        rows = np.linspace(0, len(self) - 1, min(_PROBED, len(self)), dtype=np.int64)
        parts = [self.raw[rows]] if self.scales is None else [self.raw[rows], self.scales[rows]]
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def __repr__(self) -> str:
        return f"Vectors(shape={self.shape}, stored={self.dtype_name})"

    def select(self, rows: Any) -> Vectors:
        """Return rows as stored: a view for a slice, one gathered copy for an index array.

        Rows of several places stay where they are.
        """
        chosen = Vectors(_select(self.raw, rows), self.dtype_name, _select(self.scales, rows))
        chosen.shards = self.shards
        return chosen

    def ranges(self, starts: Int64, stops: Int64) -> Vectors:
        """Return rows starts[i] to stops[i] for each i in turn, as stored; see `select`."""
        if isinstance(self.raw, JoinedRows):
            scales = None if self.scales is None else self.scales.ranges(starts, stops)
            chosen = Vectors(self.raw.ranges(starts, stops), self.dtype_name, scales)
            chosen.shards = self.shards
            return chosen
        if np.array_equal(starts[1:], stops[:-1]):
            return self.select(slice(int(starts[0]), int(stops[-1])))
        lengths = stops - starts
        begins = np.cumsum(lengths) - lengths
        return self.select(np.arange(lengths.sum()) + np.repeat(starts - begins, lengths))

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """Walk over (first row, some megabytes of rows in one array), so that huge maps are worked on in little memory.

        The rows of a block are a view where they lie together.
        """
        step = max(1, _BLOCK_BYTES // (4 * self.shape[1]))
        for first in range(0, len(self), step):
            rows = slice(first, first + step)
            yield first, Vectors(self.raw[rows], self.dtype_name, None if self.scales is None else self.scales[rows])


def _select(rows: Any, chosen: Any) -> Any:
    if rows is None:
        return None
    return rows.select(chosen) if isinstance(rows, JoinedRows) else rows[chosen]


def check_dtype(name: Any, called: str) -> None:
    """Raise ValueError, which begins with `called`, unless rows can be stored so."""
    if name not in CODES:
        raise ValueError(f"{called} = {name!r}; expected one of {', '.join(CODES)}")


def map_vectors(path: str | os.PathLike[str], where: str) -> tuple[Vectors, Mapping[str, Tensor], Mapping[str, str]]:
    """Map the file of a chain store: its rows, all its tensors, and the texts in its header.

    Raises:
        OSError: the file cannot be opened.
        ValueError: it is truncated, or holds no rows; the message begins with `where`.
    """
    try:
        tensors, strings = read_tensors(path)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    stored = tensor_of(tensors, "vectors", tuple(_NAMES), where)
    scales = tensors["scales"].values if "scales" in tensors else None
    vectors = Vectors(stored.values, _NAMES[stored.code], scales, where)
    vectors.path = os.path.abspath(path)
    return vectors, tensors, strings


def tensor_of(tensors: Mapping[str, Tensor], name: str, codes: Sequence[str], where: str) -> Tensor:
    """One tensor of a file. Raises ValueError, beginning with `where`, unless it is there and of one of the dtypes."""
    if name not in tensors:
        raise ValueError(f"{where}: no tensor '{name}'; found {', '.join(sorted(tensors)) or 'none'}")
    if tensors[name].code not in codes:
        raise ValueError(f"{where}: tensor '{name}' has dtype {tensors[name].code}; expected {' or '.join(codes)}")
    return tensors[name]


def _map_again(path: str, dtype_name: str, shape: tuple[int, int], probe: str) -> Vectors:
    """Return the rows of a file as they were when they were pickled."""
    vectors, _, _ = map_vectors(path, f"Vectors: {path}")
    if (vectors.dtype_name, vectors.shape) != (dtype_name, shape) or vectors._probe() != probe:
        raise ValueError(f"Vectors: {path} holds other rows than when this was pickled")
    return vectors


def join_vectors(paths: Sequence[str | os.PathLike[str]], parts: Sequence[Vectors]) -> Vectors:
    """Join the mapped rows of several files, which have one dtype and width, end to end."""
    scales = JoinedRows([np.asarray(part.scales) for part in parts]) if parts[0].scales is not None else None
    joined = Vectors(JoinedRows([part.raw for part in parts]), parts[0].dtype_name, scales)
    joined.shards = tuple(os.path.abspath(path) for path in paths)
    return joined


def _join_again(
    paths: tuple[str, ...], runs: tuple[Int64, Int64], dtype_name: str, shape: tuple[int, int], probe: str
) -> Vectors:
    """Return rows of several files as they were when they were pickled."""
    whole = join_vectors(paths, [map_vectors(path, f"Vectors: {path}")[0] for path in paths])
    starts, lengths = runs
    if whole.dtype_name == dtype_name and whole.shape[1] == shape[1] and (starts + lengths).max() <= len(whole):
        vectors = whole.ranges(starts, starts + lengths)
        if vectors.shape == shape and vectors._probe() == probe:
            return vectors
    raise ValueError(f"Vectors: {', '.join(paths[:3])}, ... hold other rows than when this was pickled")


def _raw_array(vectors: Any, where: str) -> tuple[Raw, str]:
    """Return the values as numpy sees them, and the name of their format."""
    if isinstance(vectors, np.ma.MaskedArray):
        raise ValueError(f"{where}: vectors is a masked array; expected an array without holes: drop or fill them")
    if type(vectors).__module__.partition(".")[0] == "torch":
        vectors, name = _tensor_array(vectors, where)
    else:
        vectors = np.asarray(vectors)
        name = vectors.dtype.name if vectors.dtype.isnative else f"{vectors.dtype.name} of foreign byte order"
    if name not in RAW_DTYPES:
        raise ValueError(f"{where}: vectors has dtype {name}; expected one of {', '.join(RAW_DTYPES)}")
    return vectors.view(RAW_DTYPES[name]), name


def _tensor_array(tensor: Any, where: str) -> tuple[Raw, str]:
    import torch

    try:
        dense = tensor.detach().cpu().resolve_neg()
        array: Raw = (dense.view(torch.uint16) if dense.dtype == torch.bfloat16 else dense).numpy()
    except (TypeError, RuntimeError) as error:  # sparse, nested, without data
        raise ValueError(f"{where}: vectors is no plain tensor: {str(error).splitlines()[0]}") from error
    return array, str(tensor.dtype).removeprefix("torch.")


def _checked_scales(scales: Any, rows: int, dtype_name: str, where: str) -> Any:
    if scales is None:
        if dtype_name == "int8":
            raise ValueError(f"{where}: int8 vectors came without scales; expected float32 scales of shape ({rows},)")
        return None
    if dtype_name != "int8":
        raise ValueError(f"{where}: scales came with {dtype_name} vectors; expected scales only with int8")
    if isinstance(scales, JoinedRows):
        return scales  # each file's were checked when it was mapped
    array: Float32 = np.asarray(scales)
    if array.dtype != np.float32 or array.shape != (rows,):
        raise ValueError(
            f"{where}: scales is {array.dtype} of shape {array.shape}; expected float32 of shape ({rows},)"
        )
    bad = np.flatnonzero(~(np.isfinite(array) & (array > 0)))
    if len(bad):
        raise ValueError(f"{where}: scales[{bad[0]}] = {array[bad[0]]}; expected a finite number above 0")
    return array

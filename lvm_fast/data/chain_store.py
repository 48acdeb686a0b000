"""`ChainStore`: every vector once, in reading order, with the boundaries of the documents (chains)."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .._util.atomic_files import atomic_path
from .._util.notebook import html_table
from .._util.numbers import plain, whole_number
from .._util.strict_json import check_json, read_json, write_json
from .._util.text import check_unicode, unicode_text
from .number_formats import Float32, Int64, Raw, check_rows, narrow
from .safetensors_file import TensorWriter
from .sequences import read_sequences
from .shards import is_sharded, joined_parts, shard_paths
from .vectors import CODES, Vectors, check_dtype, map_vectors, tensor_of

_SHOWN = 10  # chains that a notebook lists
_KEPT = ("ids", "origins")  # what a file holds among the metadata that is none


class ChainStore:
    """C chains of D-dimensional vectors, T rows in all; chain c is rows offsets[c] to offsets[c + 1].

    Attributes:
        vectors: `Vectors` (T, D); memory-mapped when the store was opened from a file.
        offsets: (C + 1,) int64; offsets[0] = 0, non-decreasing, last = T.
        ids: one string a chain, all different.
        origins: one string a chain: the id of the chain that it is a piece of, where one was cut, else its own id.
        metadata: JSON values, such as "encoder" and "source".
        file: the file that the rows are from: also of a part of its store, whose rows were gathered. Or None.

    A store that was opened from a file is pickled with the path of the file, and maps it again; one in memory is
    pickled with its rows.

    Example:
        >>> store = ChainStore(np.ones((5, 4), np.float32), offsets=[0, 2, 5], ids=["a letter", "a diary"])
        >>> len(store), store.lengths, store.vectors[2:5].shape
        (2, array([2, 3]), (3, 4))
        >>> store["a diary"].shape, [len(chain) for chain in store]
        ((3, 4), [2, 3])
    """

    def __init__(
        self,
        vectors: Any,
        offsets: npt.ArrayLike,
        ids: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        scales: Any = None,
        *,
        origins: Sequence[str] | None = None,
        where: str = "ChainStore",
    ) -> None:
        """Make a store in memory; values are not read (see `check`), everything else is checked.

        Args:
            vectors: (T, D) numpy array, torch tensor or `Vectors`; float32, float16, bfloat16, or int8 with `scales`.
            offsets: (C + 1,) integers.
            ids: C different strings; "chain_0", "chain_1", ... when left out.
            metadata: JSON values by name, but for "ids" and "origins"; numpy's numbers become Python's.
            scales: (T,) float32, for int8 only.
            origins: C strings; the ids when left out.
            where: the name that errors begin with.

        Raises:
            ValueError: names the argument, what was expected and what came.
        """
        self.vectors = Vectors.of(vectors, scales, where)
        self.offsets = _checked_offsets(offsets, len(self.vectors), where)
        self.ids = _checked_ids(ids, len(self.offsets) - 1, where)
        self.origins = list(self.ids) if origins is None else _checked_names(origins, len(self), "origins", where)
        self.metadata = _checked_metadata(metadata or {}, where)
        self.file: str | None = self.vectors.path
        self._file_starts: Int64 = self.offsets[:-1]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ChainStore:
        """Map a store from disk. The vectors are not read: the time and memory do not depend on their number.

        Args:
            path: a `.safetensors` file; or a store in several files, which are read as one in name order: the folder
                that holds them, or a pattern such as `part-*.safetensors` (see `lvm_fast.data.shards`).

        Raises:
            OSError: the file cannot be opened.
            ValueError: the file is truncated, its header does not fit it, or it is not a chain store.
        """
        if is_sharded(path):
            paths = shard_paths(path)
            joined = cls(**joined_parts(paths, [cls.open(shard) for shard in paths]))
            joined.file = os.path.abspath(path)
            return joined
        where = f"ChainStore.open: {os.fspath(path)}"
        vectors, tensors, strings = map_vectors(path, where)
        metadata = {key: _from_string(value) for key, value in strings.items()}
        ids, origins = (metadata.pop(key, None) for key in _KEPT)
        offsets = tensor_of(tensors, "offsets", ("I64",), where).values
        return cls(vectors, offsets, ids, metadata, origins=origins, where=where)

    @classmethod
    def write(
        cls,
        path: str | os.PathLike[str],
        vectors: Any,
        offsets: npt.ArrayLike,
        ids: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        scales: Any = None,
        dtype: str | None = None,
        *,
        origins: Sequence[str] | None = None,
    ) -> None:
        """Check every row and save a store: `ChainStore(...).save(path, dtype)`.

        Raises:
            ValueError: as the constructor, or a row holds NaN or Inf, is all zeros, or does not fit `dtype`.
            OSError: the file cannot be written; nothing is left behind.
        """
        cls(vectors, offsets, ids, metadata, scales, origins=origins, where="ChainStore.write").save(path, dtype)

    @classmethod
    def from_sequences(cls, npz_path: str | os.PathLike[str]) -> ChainStore:
        """Recover the chains of the reference's sequence file, so that each vector is held once.

        The `.npz` holds `context_sequences` (S, N, D), `target_vectors` (S, D) and optionally `target_indices` (S,).
        See `lvm_fast.data.joining` for how windows are joined. The rows are a map of a temporary file.

        Raises:
            OSError: the file cannot be opened.
            ValueError: an array is missing, pickled, of the wrong shape or dtype, or its header does not fit the file,
                or a row holds NaN or Inf, or is all zeros.
        """
        where = f"ChainStore.from_sequences: {os.fspath(npz_path)}"
        read = read_sequences(npz_path, where)
        metadata = {"source": unicode_text(os.path.basename(npz_path)), "sequences": read.facts}
        return cls(read.rows, read.offsets, metadata=metadata, where=where)

    def save(self, path: str | os.PathLike[str], dtype: str | None = None) -> None:
        """Write the store as one `.safetensors` file, atomically and in blocks, converted to `dtype` if given.

        Raises:
            ValueError: a row holds NaN or Inf, is all zeros, or does not fit `dtype`; or metadata would not come back
                as they are.
            OSError: the file cannot be written; nothing is left behind.
        """
        dtype = dtype or self.vectors.dtype_name
        check_dtype(dtype, "ChainStore.save: dtype")
        layout: dict[str, tuple[str, tuple[int, ...]]] = {"offsets": ("I64", self.offsets.shape)}
        if dtype == "int8":
            layout["scales"] = ("F32", (len(self.vectors),))
        layout["vectors"] = (CODES[dtype], self.vectors.shape)
        strings = self._strings()
        with atomic_path(path) as temporary, TensorWriter(temporary, layout, strings) as file:
            file.put("offsets", 0, self.offsets)
            for first, block in self.vectors.blocks():
                raw, scales = _checked_block(block, first, dtype)
                file.put("vectors", first, raw)
                if scales is not None:
                    file.put("scales", first, scales)

    def check(self) -> None:
        """Read every row, in blocks; raise ValueError for the first that holds NaN or Inf, or is all zeros."""
        for first, block in self.vectors.blocks():
            check_rows(block[:], "ChainStore.check: vectors", first)

    def fingerprint(self) -> str:
        """Return the SHA-256 (64 hex digits) of dtype, shape, chain boundaries and stored rows, not of ids or metadata.

        Reads every row, in blocks.
        """
        digest = hashlib.sha256(json.dumps([self.vectors.dtype_name, self.vectors.shape]).encode())
        digest.update(self.offsets.astype("<i8").tobytes())
        for _, block in self.vectors.blocks():
            digest.update(np.ascontiguousarray(block.raw).data)
            if block.scales is not None:
                digest.update(np.ascontiguousarray(block.scales).data)
        return digest.hexdigest()

    def _strings(self) -> dict[str, str]:
        """Metadata, ids and, where a chain is a piece of another, origins, as a file keeps them."""
        kept = {"ids": self.ids} | ({"origins": self.origins} if self.origins != self.ids else {})
        metadata = _checked_metadata(self.metadata, "ChainStore.save")
        return {key: _to_string(value, f"ChainStore.save: {key}") for key, value in {**metadata, **kept}.items()}

    def pieces(
        self,
        starts: Int64,
        stops: Int64,
        ids: Sequence[str],
        metadata: Mapping[str, Any],
        origins: Sequence[str] | None = None,
    ) -> ChainStore:
        """Make a store whose chain i is rows starts[i] to stops[i] of this one.

        Adjoining ranges are a view; otherwise the rows are gathered once, as stored. Rows of several files stay on
        disk.
        """
        offsets = np.concatenate([[0], np.cumsum(stops - starts)])
        made = ChainStore(self.vectors.ranges(starts, stops), offsets, ids, metadata, origins=origins)
        made.file, made._file_starts = self.file, self.rows_in_file(starts)
        return made

    def chain_of(self, rows: npt.ArrayLike) -> Int64:
        """The chain index of each row, in the shape of `rows`."""
        return np.asarray(np.searchsorted(self.offsets, rows, side="right") - 1, dtype=np.int64)

    def documents_of(self, chains: Int64) -> Int64:
        """Number the documents of these chains (Q,), from 0 up: the pieces of a chain that was cut are one document."""
        numbers: dict[str, int] = {}
        documents: Int64 = np.array([numbers.setdefault(origin, len(numbers)) for origin in self.origins])
        return np.asarray(np.unique(documents[chains], return_inverse=True)[1], dtype=np.int64)

    def rows_in_file(self, rows: npt.ArrayLike) -> Int64:
        """Which rows of `file` these rows are; without a file, of the store that this one was cut from."""
        chains = self.chain_of(rows)
        moved: Int64 = np.asarray(rows) - self.offsets[chains] + self._file_starts[chains]
        return moved

    def __getitem__(self, chain: int | str) -> Float32:
        """The vectors of one chain, (n, D) float32, by its number (from the end where negative) or its id.

        Raises:
            IndexError: there is no chain of this number.
            KeyError: there is no chain of this id.
        """
        if isinstance(chain, str):
            if chain not in self.ids:
                raise KeyError(f"ChainStore: no chain is called {chain!r}")
            chain = self.ids.index(chain)
        number = whole_number(chain, "ChainStore: chain")
        if not -len(self) <= number < len(self):
            raise IndexError(f"ChainStore: chain {number}; expected {-len(self)} to {len(self) - 1}")
        number %= len(self)
        return self.vectors[int(self.offsets[number]) : int(self.offsets[number + 1])]

    def __contains__(self, name: object) -> bool:
        """Whether a chain has this id."""
        return name in self.ids

    def __iter__(self) -> Iterator[Float32]:
        """Go through the chains: the vectors of each, (n, D) float32."""
        return (self[chain] for chain in range(len(self)))

    @property
    def dim(self) -> int:
        return self.vectors.shape[1]

    @property
    def lengths(self) -> Int64:
        """(C,) rows in each chain."""
        return np.diff(self.offsets)

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        rows, dim = self.vectors.shape
        return f"ChainStore({len(self)} chains, {rows} rows x {dim}, {self.vectors.dtype_name})"

    def _repr_html_(self) -> str:
        rows, dim = self.vectors.shape
        title = f"{len(self):,} chains, {rows:,} vectors of {dim} numbers ({self.vectors.dtype_name})"
        shown = [[name, f"{length:,}"] for name, length in zip(self.ids[:_SHOWN], self.lengths[:_SHOWN], strict=True)]
        more = [f"and {len(self) - _SHOWN:,} more"] if len(self) > _SHOWN else []
        told = [f"{key}: {value}" for key, value in self.metadata.items() if isinstance(value, str | int)]
        return html_table(title, [*more, *told], ["chain", "vectors"], shown)


def _checked_block(block: Vectors, first: int, dtype: str) -> tuple[Raw, Float32 | None]:
    """Return the rows as they will be stored; raises for the first row that is not a finite, non-zero vector then."""
    values = block[:]
    check_rows(values, "ChainStore.write: vectors", first)
    if dtype == block.dtype_name:
        return block.raw, block.scales
    raw, scales = narrow(values, dtype)
    check_rows(Vectors(raw, dtype, scales)[:], f"ChainStore.write: vectors rounded to {dtype}", first)
    return raw, scales


def _checked_offsets(offsets: npt.ArrayLike, rows: int, where: str) -> Int64:
    array = np.asarray(offsets)
    if array.ndim != 1 or len(array) < 2 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: offsets has shape {array.shape} and dtype {array.dtype}; expected at least 2 integers in one row"
        )
    array = array.astype(np.int64)
    if array[0] != 0:
        raise ValueError(f"{where}: offsets[0] = {array[0]}; expected 0")
    falls = np.flatnonzero(array[1:] < array[:-1])
    if len(falls):
        at = int(falls[0]) + 1
        raise ValueError(
            f"{where}: offsets[{at}] = {array[at]} is smaller than offsets[{at - 1}] = {array[at - 1]}; "
            "expected non-decreasing offsets"
        )
    if array[-1] != rows:
        raise ValueError(f"{where}: the last of the offsets is {array[-1]}; expected the number of vectors, {rows}")
    return array


def _checked_ids(ids: Any, chains: int, where: str) -> list[str]:
    if ids is None:
        return [f"chain_{chain}" for chain in range(chains)]
    names = _checked_names(ids, chains, "ids", where)
    if len(set(names)) < len(names):
        ((name, count),) = Counter(names).most_common(1)
        raise ValueError(f"{where}: ids holds {name!r} {count} times; expected different ids")
    return names


def _checked_names(names: Any, chains: int, called: str, where: str) -> list[str]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{where}: {called} is not a list of strings; expected one string a chain")
    if len(names) != chains:
        raise ValueError(f"{where}: {len(names)} {called} for {chains} chains; expected one a chain")
    for chain, name in enumerate(names):
        if not name.isascii():
            check_unicode(name, f"{where}: {called}[{chain}]")
    return [str(name) for name in names]


def _checked_metadata(metadata: Any, where: str) -> dict[str, Any]:
    """Return a copy whose values a file gives back as they are."""
    if not isinstance(metadata, Mapping):
        raise ValueError(f"{where}: metadata is a {type(metadata).__name__}; expected values by name")
    copied: dict[str, Any] = plain(metadata)
    check_json(copied, f"{where}: metadata")
    for key in _KEPT:
        if key in copied:
            raise ValueError(f"{where}: metadata[{key!r}] is what files call the {key} of chains; pass {key} instead")
    return copied


def _to_string(value: Any, called: str) -> str:
    """Metadata as a file keeps them: plain text as it is; everything else, and text that reads as JSON, as JSON."""
    is_plain = isinstance(value, str) and _from_string(value) == value
    return value if is_plain else write_json(value, called)


def _from_string(value: str) -> Any:
    try:
        return read_json(value)
    except ValueError:
        return value

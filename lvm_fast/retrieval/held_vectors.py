"""What a bank holds, before it is asked: made, changed, saved, opened and copied."""

from __future__ import annotations

import copy
import os
import threading
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._util.numbers import truth_value, whole_number
from ..data.vectors import Vectors
from ..ops.rows import is_tensor
from .bank_file import check_some_rows, digest_of, metric_of_packed, pack_into_file, read_bank, write_bank
from .checked_input import Matrix, Names, ids_of, matrix_of, renamed
from .contents import Contents, Segment
from .filters import Bits
from .opened_file import OpenedFile
from .prefixes import Axes, principal_axes
from .streamed_contents import StreamedContents

Kind = TypeVar("Kind", bound="HeldVectors")
METRICS = ("ip", "cosine", "l2")
BUILDS = ("fast", "search")


class HeldVectors:
    """The part of `VectorBank` that keeps its candidates; the questions are in `bank.py`.

    Threads may ask while one changes the bank: each question takes `_contents` once, and a change puts other contents
    in its place.
    """

    device = "cpu"

    def __init__(
        self, vectors: Any, normalize: bool = False, *, metric: str = "ip", device: Any = "cpu", build: str = "fast"
    ) -> None:
        kind, build = metric_of(metric, normalize, "VectorBank"), build_of(build, "VectorBank")
        self.device = str(device)
        self._fill(vectors, kind, Names("VectorBank"), build)

    def _fill(self, vectors: Any, metric: str, names: Names, build: str = "fast") -> None:
        if getattr(vectors, "is_joined", False):
            contents = renamed(names, StreamedContents.of, vectors, metric, self.device)
            return self._hold(contents, vectors.shape[1], metric, build)
        matrix = bank_rows(vectors, names)
        segment = renamed(names, Segment.packed, matrix, metric, None, None, self.device)
        if build == "search":  # after the packing, which refuses rows that cannot be scored
            segment = segment.searched_often(metric)
        self._hold(Contents((segment,)), matrix.rows.dim, metric, build)

    def _hold(self, contents: Contents, dim: int, metric: str, build: str) -> None:
        self.dim, self.metric, self.normalize = dim, metric, metric == "cosine"
        self.build = build
        self._contents, self._changing = contents, threading.Lock()
        self._core = contents.segments[0].core  # whose memory a refill takes

    def refill(self, vectors: Any) -> None:
        """Refer to other vectors from now on, packed into this bank's memory: quicker than a new bank.

        Args:
            vectors: (N', D) as the constructor takes them; N' may differ.

        Raises:
            ValueError: as the constructor, or another D. After a row that could not be packed, and after Ctrl-C, the
                bank is empty and refuses questions until it is refilled.

        Not while another thread asks this bank or saves it.
        """
        if self.is_streamed or getattr(vectors, "is_joined", False):
            raise ValueError("VectorBank.refill: vectors: expected rows in one place, got some in several; make a bank")
        matrix = self._rows_alike(vectors, "VectorBank.refill")
        with self._changing:
            core = self._core
            self._contents = Contents()
            renamed("VectorBank.refill", core.refill, matrix.rows)
            segment = Segment(core, matrix.given, matrix.rows.rows)
            self._contents = Contents((segment.searched_often(self.metric) if self.build == "search" else segment,))

    def append(self, vectors: Any) -> NDArray[np.int64]:
        """Add candidates without packing the others again; the bank refers to the array, as the constructor does.

        Other threads may ask meanwhile: a question sees the bank as it was before, or with all that was added.

        Args:
            vectors: (n, D), in the format of those that the bank holds.

        Returns:
            Their ids, (n,) int64: the next ones. The ids of the others stay.

        Raises:
            ValueError: as the constructor, or another D or format. Then the bank is as it was.
        """
        matrix = self._rows_alike(vectors, "VectorBank.append")
        self.check_filled("VectorBank.append")
        with self._changing:
            first = self._contents.size
            stored, given = (
                Vectors.of(rows, None, "VectorBank.append").dtype_name
                for rows in (self._contents.segments[0].vectors, matrix.given)
            )
            if given != stored:
                raise ValueError(f"VectorBank.append: vectors: expected {stored} like the bank's, got {given}")
            self._contents = renamed("VectorBank.append", self._contents.appended, matrix, self.metric, self.device)
        return np.arange(first, first + matrix.rows.rows)

    def remove(self, ids: ArrayLike) -> None:
        """Remove candidates: no question finds them any more, and their ids are not given again.

        Their memory is kept; `save` writes the others alone. Other threads may ask meanwhile, as with `append`.

        Args:
            ids: One id, or several of any shape.

        Raises:
            ValueError: an id that the bank does not hold. Then nothing is removed.
        """
        self.check_filled("VectorBank.remove")
        wanted = np.unique(ids_of(ids, "VectorBank.remove: ids"))
        with self._changing:
            contents = self._contents
            outside = (wanted < 0) | (wanted >= contents.size)
            gone = outside | ~contents.mask[np.where(outside, 0, wanted)]
            if gone.any():
                raise ValueError(f"VectorBank.remove: ids: the bank does not hold {wanted[gone][0]}; nothing removed")
            self._contents = contents.without(wanted)

    @property
    def is_streamed(self) -> bool:
        """Whether the candidates stay on disk, so that every question reads them all: many are best asked at once."""
        return self._contents.is_streamed

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all candidates that were not removed, ascending, (len(bank),); `save` keeps their order."""
        self.check_filled("VectorBank.ids")
        return np.flatnonzero(self._contents.mask)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save vectors and packed form as one `.safetensors` file, atomically; `VectorBank.open` maps it.

        A bank that has changed is packed again for it, without what was removed: in the file, `ids[i]` has the id i.

        Raises:
            OSError: the file cannot be written; nothing is left behind.
            ValueError: everything was removed.
        """
        self.check_filled("VectorBank.save")
        contents = self._contents
        if contents.is_streamed:
            raise ValueError("VectorBank.save: the bank reads several files; expected rows in memory or in one file")
        if contents.file is not None:
            return write_bank(path, contents.file.vectors, contents.file.packed)
        if not contents.is_whole:
            matrix = bank_rows(contents.kept_vectors("VectorBank.save"), Names("VectorBank.save"))
            contents = Contents((Segment.packed(matrix, self.metric, axes=contents.segments[0].axes),))
        write_bank(path, contents.vectors("VectorBank.save"), contents.segments[0].arrays())

    @staticmethod
    def pack(
        path: str | os.PathLike[str], vectors: Any, normalize: bool = False, *, metric: str = "ip", build: str = "fast"
    ) -> None:
        """Pack vectors into a file that `open` maps, some rows at a time: for banks larger than memory.

        The file is that of ``VectorBank(vectors, ...).save(path)``.

        Args:
            path: The file.
            vectors: As the constructor takes them; `ChainStore.vectors`, which are mapped, are read once.
            normalize, metric, build: As the constructor takes them.

        Raises:
            OSError: the file cannot be written; nothing is left behind.
            ValueError: as the constructor.
        """
        names, kind = Names("VectorBank.pack"), metric_of(metric, normalize, "VectorBank.pack")
        given = Vectors.of(bank_rows(vectors, names).given)
        axes = principal_axes(given, kind) if build_of(build, "VectorBank.pack") == "search" else None
        renamed(names, pack_into_file, path, given, kind, axes)

    @classmethod
    def open(cls: type[Kind], path: str | os.PathLike[str], *, max_memory: int | None = None) -> Kind:
        """Map a saved bank: the time does not depend on its size. Some rows are checked against their packed form.

        Args:
            path: What `save` wrote.
            max_memory: Answer with at most so many bytes of the file in memory, piece by piece: for banks larger than
                memory. Queries, results and each thread's own are not counted, and two questions at the same time take
                twice as much. None leaves it to the system.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is truncated, not a bank, or its packed form does not belong to its vectors; or less than 32
                rows of it fit `max_memory`.
        """
        where = f"VectorBank.open: {os.fspath(path)}"
        most = None if max_memory is None else whole_number(max_memory, "VectorBank.open: max_memory", 1)
        file = OpenedFile(os.path.abspath(path), *read_bank(path, where), most)
        bank = cls._of_file(file, where)
        check_some_rows(file.vectors, file.packed, where)
        bank._contents.give_back()
        return bank

    @classmethod
    def _of_file(cls: type[Kind], file: OpenedFile, where: str) -> Kind:
        bank = cls.__new__(cls)
        build = "search" if "axes" in file.packed else "fast"
        bank._hold(Contents.of_file(file, where), file.vectors.shape[1], metric_of_packed(file.packed), build)
        return bank

    def __reduce__(self) -> tuple[Any, ...]:
        self.check_filled("VectorBank: pickle")
        contents = self._contents
        if contents.is_streamed:
            held = [segment.held for segment in contents.segments]
            return _streamed_again, (type(self), self.vectors, self.metric, self.device, self.build, held)
        if contents.file is None:
            parts = [(_copied(segment.vectors), segment.held) for segment in contents.segments]
            return _made_again, (type(self), parts, self.metric, self.device, self.build, contents.segments[0].axes)
        file = contents.file
        return _opened_again, (type(self), file.path, digest_of(file.vectors, file.packed), file.max_memory)

    def __deepcopy__(self, memo: dict[int, Any]) -> HeldVectors:
        self.check_filled("VectorBank: deepcopy")
        if self._contents.file is None:
            make, arguments = self.__reduce__()
            copied: HeldVectors = make(*arguments)
            return copied
        return self._of_file(self._contents.file, "VectorBank: deepcopy")  # which nobody writes

    @property
    def vectors(self) -> Vectors:
        """The candidates as they were given, (N, D): `Vectors`, whose slices are float32.

        Where some were appended: a copy. Removed ones are still in it, in their places.
        """
        self.check_filled("VectorBank.vectors")
        return self._contents.vectors("VectorBank.vectors")

    def __len__(self) -> int:
        return self._contents.count

    def _rows_alike(self, vectors: Any, where: str) -> Matrix:
        matrix = bank_rows(vectors, Names(where))
        if matrix.rows.dim != self.dim:
            raise ValueError(f"{where}: vectors: expected {self.dim} columns, got {matrix.rows.dim}")
        return matrix

    def check_filled(self, where: str) -> None:
        if not self._contents.segments:
            raise ValueError(f"{where}: the last refill failed; expected a bank that holds vectors")


def bank_rows(vectors: Any, names: Names) -> Matrix:
    matrix = matrix_of(vectors, names.of("vectors"))
    if matrix.rows.rows == 0 or matrix.rows.dim == 0:
        shape = (matrix.rows.rows, matrix.rows.dim)
        raise ValueError(f"{names.of('vectors')}: expected at least one row and one column, got {shape}")
    return matrix


def _copied(vectors: Any) -> Any:
    """Return the rows alone: torch would pickle all that a tensor is a view of."""
    return vectors.detach().clone() if is_tensor(vectors) else copy.deepcopy(vectors)


def metric_of(metric: Any, normalize: Any, where: str) -> str:
    """Return the metric that a bank is made with. Raises ValueError where it is none, or the two contradict."""
    if not isinstance(metric, str) or metric not in METRICS:
        raise ValueError(f"{where}: metric: expected one of {', '.join(METRICS)}, got {metric!r}")
    if not truth_value(normalize, f"{where}: normalize"):
        return str(metric)
    if metric == "l2":
        raise ValueError(f'{where}: normalize: expected False with metric="l2"; cosines are metric="cosine"')
    return "cosine"


def build_of(build: Any, where: str) -> str:
    """Return how a bank is built. Raises ValueError where there is no such way."""
    if build not in BUILDS:
        raise ValueError(f"{where}: build: expected one of {', '.join(BUILDS)}, got {build!r}")
    return str(build)


def _made_again(
    kind: type[HeldVectors],
    parts: list[tuple[Any, Bits | None]],
    metric: str,
    device: str,
    build: str,
    axes: Axes | None,
) -> HeldVectors:
    """Return the bank that holds these segments: vectors, and bits of what was not removed."""
    matrices = [bank_rows(vectors, Names(kind.__name__)) for vectors, _ in parts]
    segments = [
        Segment.packed(rows, metric, held, axes, device) for rows, (_, held) in zip(matrices, parts, strict=True)
    ]
    bank = kind.__new__(kind)
    bank.device = device
    bank._hold(Contents(tuple(segments)), matrices[0].rows.dim, metric, build)
    return bank


def _streamed_again(
    kind: type[HeldVectors], rows: Vectors, metric: str, device: str, build: str, held: list[Bits | None]
) -> HeldVectors:
    """Return the bank of rows in several files, and bits of what was not removed."""
    bank = kind.__new__(kind)
    bank.device = device
    bank._hold(StreamedContents.of(rows, metric, device, held), rows.shape[1], metric, build)
    return bank


def _opened_again(kind: type[HeldVectors], path: str, digest: str, max_memory: int | None = None) -> HeldVectors:
    """Return the bank of a file, as it was when it was pickled."""
    bank = kind.open(path, max_memory=max_memory)
    file = bank._contents.file
    if file is None or digest_of(file.vectors, file.packed) != digest:
        raise ValueError(f"VectorBank.open: {path}: holds another bank than when this one was pickled")
    return bank

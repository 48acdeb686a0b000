"""What a store that is encoded, or encoded again, will hold: which chains, and which vectors it has already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..chain_store import ChainStore
from ..documents import read_documents
from ..number_formats import Int64
from ..source import chunks_path
from .partial_folder import TEXTS, file_digest


@dataclass(frozen=True)
class StoredTexts:
    """A store and the texts of its chunks.

    Attributes:
        store: the store.
        chunks: the texts of every chain, by its id.
    """

    store: ChainStore
    chunks: Mapping[str, Sequence[str]]

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> StoredTexts:
        """Open a store with the texts beside it.

        Raises:
            OSError: one of them is not there.
            ValueError: the texts are not those of the store.
        """
        store, beside = ChainStore.open(path), chunks_path(path)
        if not beside.exists():
            raise FileNotFoundError(2, "the texts of the store's chunks are needed to tell what is new", str(beside))
        digest = store.metadata.get(TEXTS)
        chunks = {document.id: document.chunks for document in read_documents([beside])}
        counts = [len(chunks.get(name, ())) for name in store.ids]
        if digest not in (None, file_digest(beside)) or counts != store.lengths.tolist():
            raise ValueError(f"{beside}: not the texts of {os.fspath(path)}; expected those written with it")
        return cls(store, chunks)


@dataclass
class Growth:
    """The chains that a store will have, in order, and where their vectors are from.

    Attributes:
        chains: the texts of every chain, by its id.
        before: the store as it is, if any.
        added, changed, kept, removed: the number of chains that are new, have other chunks than before, are as before,
            and are gone.
    """

    chains: dict[str, Sequence[str]]
    before: StoredTexts | None = None
    added: int = 0
    changed: int = 0
    kept: int = 0
    removed: int = 0
    _rows: dict[str, int] = field(default_factory=dict)  # of texts that the store has a vector of
    _firsts: dict[str, int] = field(default_factory=dict)  # of the chains that the store has

    @classmethod
    def of(cls, given: dict[str, Sequence[str]], before: StoredTexts | None, prune: bool) -> Growth:
        """Lay out the chains: those of the store where they stood, the new ones after them.

        Args:
            given: the chunks of every document, by its id.
            before: the store that grows, if any.
            prune: leave out the chains that are not given.
        """
        if before is None:
            return cls(given, added=len(given))
        stays = {name: before.chunks[name] for name in before.store.ids if name in given or not prune}
        growth = cls({**stays, **given}, before)
        growth.removed = len(before.store) - len(stays)
        growth.added = len(given.keys() - before.chunks.keys())
        growth.changed = sum(list(given[name]) != list(stays[name]) for name in given.keys() & stays.keys())
        growth.kept = len(stays) - growth.changed
        growth._firsts = dict(zip(before.store.ids, before.store.offsets.tolist(), strict=False))
        texts = (text for name in before.store.ids for text in before.chunks[name])
        for row, text in enumerate(texts):
            growth._rows.setdefault(text, row)
        return growth

    @property
    def is_nothing(self) -> bool:
        """Whether the store is as it should be."""
        return self.before is not None and not (self.added or self.changed or self.removed)

    def new_texts(self) -> list[str]:
        """Return the different texts that there is no vector of, in order."""
        return [text for text in dict.fromkeys(self._texts()) if text not in self._rows]

    def offsets(self) -> Int64:
        """Return the boundaries of the chains, (C + 1,)."""
        return np.cumsum([0, *map(len, self.chains.values())]).astype(np.int64)

    def places(self, new_texts: Sequence[str]) -> Int64:
        """Return where the vector of every chunk is, (T,): a row of the store before, or after those of a new text."""
        first = 0 if self.before is None else len(self.before.store.vectors)
        place = self._rows | {text: first + row for row, text in enumerate(new_texts)}
        places = np.array([place[text] for text in self._texts()], np.int64)
        if self.before is not None:
            for name, begin in zip(self.chains, self.offsets().tolist(), strict=False):
                if list(self.before.chunks.get(name, ())) == list(self.chains[name]):  # its own rows, no equal ones
                    count = len(self.chains[name])
                    places[begin : begin + count] = self._firsts[name] + np.arange(count)
        return places

    def origins(self) -> list[str]:
        """Return the origin of every chain: that of the store before, or its own id."""
        if self.before is None:
            return list(self.chains)
        known = dict(zip(self.before.store.ids, self.before.store.origins, strict=True))
        return [known.get(name, name) for name in self.chains]

    def place_of(self, text: str) -> tuple[str, int]:
        """Return the first chain that has a text, and its place in it."""
        for name, texts in self.chains.items():
            if text in texts:
                return name, list(texts).index(text)
        raise KeyError(text)

    def __str__(self) -> str:
        return f"{self.added:,} chains added, {self.changed:,} changed, {self.kept:,} kept, {self.removed:,} removed"

    def _texts(self) -> Iterable[str]:
        return (text for texts in self.chains.values() for text in texts)

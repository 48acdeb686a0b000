"""What the chunks of a store say and where they stand, also those of a part of a store."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.chain_store import ChainStore
from ..data.documents import read_documents
from ..data.shards import shard_names, shard_paths
from ..data.source import chunks_path


@dataclass(frozen=True)
class Place:
    """The place of a chunk.

    Attributes:
        chunk: its row in the store.
        chain: the id of its chain.
        position: its place in the chain, from 0.
    """

    chunk: int
    chain: str
    position: int


class ChunkTexts:
    """The texts of a store's chunks, from the JSON lines {"id", "chunks"} that `lvm-fast encode` writes beside it."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Read a `.jsonl` or `.jsonl.gz` file.

        Raises:
            OSError: the file cannot be opened.
            ValueError: it is damaged, or holds no such lines.
        """
        self.path = Path(path)
        self._chunks: Mapping[str, Sequence[str]] = {record.id: record.chunks for record in read_documents([path])}

    @classmethod
    def of(cls, store: ChainStore) -> ChunkTexts | None:
        """Return the texts beside the file of a store, or of a part of one; None where there are none."""
        return None if store.file is None else cls.beside(store.file)

    @classmethod
    def beside(cls, store_path: str | os.PathLike[str]) -> ChunkTexts | None:
        """Return the texts that `lvm-fast encode` wrote beside a store; None where a file of it has none."""
        shards = shard_paths(store_path)
        paths = [chunks_path(shard) for shard in shards]
        if not all(path.exists() for path in paths):
            return None
        texts, *others = [cls(path) for path in paths]
        if others:
            names = [list(part._chunks) for part in (texts, *others)]
            is_plain = len(set().union(*names)) == sum(map(len, names))
            chunks = [chunks for part in (texts, *others) for chunks in part._chunks.values()]
            named = shard_names([shard.stem for shard in shards], names, is_plain)
            texts.path, texts._chunks = Path(store_path), dict(zip(named, chunks, strict=True))
        return texts

    def text(self, store: ChainStore, chain: int, position: int) -> str:
        """Return the text of a chunk.

        Raises:
            ValueError: the file lacks the chain, or has another number of chunks for it than the store.
        """
        name, expected = store.ids[chain], int(store.lengths[chain])
        found = len(self._chunks.get(name, ()))
        if found != expected:
            raise ValueError(f"{self.path}: {found} chunks for chain {name!r}; expected {expected}, as in the store")
        return self._chunks[name][position]


class RowTexts:
    """The places and texts of a store's rows; those of a part are told as in the store that it was cut from."""

    def __init__(self, store: ChainStore, texts: ChunkTexts | None = None) -> None:
        """Find what the store was cut from.

        Args:
            store: A store, or a part of one, such as `split_chains` makes.
            texts: Where the texts are; beside the file of the store unless given.

        Raises:
            OSError: the file of the store, or that of its texts, cannot be opened.
            ValueError: it is damaged.
        """
        is_part = store.file is not None and store.vectors.path is None
        self._store = store
        self._whole = ChainStore.open(str(store.file)) if is_part else store
        self._is_part = is_part
        self.texts = ChunkTexts.of(store) if texts is None else texts

    def place(self, row: int) -> Place:
        """Return where a row stands."""
        moved = int(self._store.rows_in_file(row)) if self._is_part else row
        chain = int(self._whole.chain_of(moved))
        return Place(moved, self._whole.ids[chain], moved - int(self._whole.offsets[chain]))

    def text(self, row: int) -> str | None:
        """Return what a row says; None where that is not known.

        Raises:
            ValueError: as `ChunkTexts.text`.
        """
        if self.texts is None:
            return None
        moved = int(self._store.rows_in_file(row)) if self._is_part else row
        chain = int(self._whole.chain_of(moved))
        return self.texts.text(self._whole, chain, moved - int(self._whole.offsets[chain]))

"""Documents -> chunks -> vectors -> `ChainStore`, with any encoder; a run that was cut off goes on where it stopped."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..files import atomic_path, check_writable
from .chunking import chunk_text
from .documents import Document
from .quantize import Float32, check_rows
from .store import ChainStore

_GROUP = 256  # chunks given to the encoder at once


class Encoder(Protocol):
    """What `encode_documents` needs of a text encoder; `SentenceEncoder` is one.

    Attributes:
        name: what the store's metadata call it.
        max_tokens: the most tokens it reads of a text, or None.
    """

    name: str
    max_tokens: int | None

    def encode(self, texts: list[str]) -> Any:
        """Vectors (n, D) of n texts, as numpy reads them."""

    def count_tokens(self, words: list[str]) -> list[int]:
        """How many tokens each word takes."""


def encode_documents(
    documents: Sequence[Document],
    encoder: Encoder,
    output: str | os.PathLike[str],
    *,
    chunk_tokens: int = 20,
    dtype: str = "float16",
    source: str = "",
    progress: bool = True,
) -> ChainStore:
    """Encode documents, one chain each, into a store of unit vectors, with the texts of the chunks beside it.

    Finished documents are kept in the folder `<output>.partial`, each under a digest of encoder and chunks, until the
    store is written: the same call again goes on from there.

    Args:
        output: the store; the chunks go to `<stem of output>.chunks.jsonl.gz`, one line {"id", "chunks"} a document.
        chunk_tokens: about how many tokens a chunk has; documents that come as chunks are left as they are.
        dtype: how to store the vectors.

    Returns:
        The store, opened.

    Raises:
        ValueError: no documents, a document without text, `chunk_tokens` out of range, or an encoder that gives NaN,
            zero vectors or the wrong shape.
        OSError: a file cannot be written.
    """
    output = Path(output)
    check_writable(output)
    chunks = _chunks(documents, encoder, chunk_tokens)
    partial = output.with_name(f"{output.name}.partial")
    partial.mkdir(exist_ok=True)
    kept = [partial / f"{_digest(encoder.name, texts)}.npy" for texts in chunks]
    _encode_missing(documents, chunks, kept, encoder, progress)
    _write_chunks(chunks_path(output), documents, chunks)
    offsets = np.cumsum([0, *map(len, chunks)])
    metadata = {"encoder": encoder.name, "source": source, "chunk_tokens": chunk_tokens}
    rows = _join(kept, partial / "rows", int(offsets[-1]))
    ChainStore.write(output, rows, offsets, [document.id for document in documents], metadata, dtype=dtype)
    shutil.rmtree(partial)
    return ChainStore.open(output)


def encode_context(document: Document, encoder: Encoder, most: int, chunk_tokens: int = 20) -> tuple[Float32, int]:
    """The last chunks of one document as unit vectors, for a model to go on from.

    Args:
        document: a text, or chunks.
        encoder: as for `encode_documents`.
        most: how many chunks to encode, at most.
        chunk_tokens: about how many tokens a chunk has: those of the model's training.

    Returns:
        (n, D), the last chunk last, and how many chunks the document has.

    Raises:
        ValueError: as `encode_documents`.
    """
    (chunks,) = _chunks([document], encoder, chunk_tokens)
    last = chunks[-most:]
    rows = _unit_rows(encoder.encode(last), len(last), encoder.name)
    check_rows(rows, f"{encoder.name}: document {document.id!r}", len(chunks) - len(last))
    return rows, len(chunks)


def chunks_path(store_path: str | os.PathLike[str]) -> Path:
    """Where the texts of a store's chunks are."""
    path = Path(store_path)
    return path.with_name(f"{path.stem}.chunks.jsonl.gz")


def _chunks(documents: Sequence[Document], encoder: Encoder, chunk_tokens: int) -> list[list[str]]:
    if not documents:
        raise ValueError("encode_documents: no documents; expected at least one")
    longest = (encoder.max_tokens or 1_000_000) * 2 // 3  # chunks may be half longer than wanted
    if not 1 <= chunk_tokens <= longest:
        raise ValueError(f"encode_documents: chunk_tokens = {chunk_tokens}; {encoder.name} allows 1 to {longest}")
    chunks = []
    for document in documents:
        texts = list(document.chunks) or chunk_text(document.text, encoder.count_tokens, chunk_tokens)
        if not texts:
            raise ValueError(f"encode_documents: document {document.id!r} holds no text")
        chunks.append(texts)
    return chunks


def _digest(name: str, texts: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([name, texts]).encode()).hexdigest()


def _encode_missing(
    documents: Sequence[Document],
    chunks: Sequence[list[str]],
    kept: Sequence[Path],
    encoder: Encoder,
    progress: bool,
) -> None:
    """Encode the documents whose file is not there yet, many short ones at once, each saved when it is whole."""
    from tqdm.auto import tqdm

    waiting = deque(index for index, path in enumerate(kept) if not path.exists())
    texts = [text for index in waiting for text in chunks[index]]
    total = sum(map(len, chunks))
    held = None
    # disable=None: no bar where the output is not a terminal
    with tqdm(total=total, initial=total - len(texts), unit="chunk", disable=None if progress else True) as bar:
        for first in range(0, len(texts), _GROUP):
            group = texts[first : first + _GROUP]
            rows = _unit_rows(encoder.encode(group), len(group), encoder.name)
            held = rows if held is None else np.concatenate([held, rows])
            while waiting and len(chunks[waiting[0]]) <= len(held):
                index = waiting.popleft()
                count = len(chunks[index])
                check_rows(held[:count], f"{encoder.name}: document {documents[index].id!r}")
                with atomic_path(kept[index]) as temporary:
                    np.save(temporary, held[:count])
                held = held[count:]
            bar.update(len(group))


def _unit_rows(encoded: Any, count: int, name: str) -> Float32:
    rows: Float32 = np.asarray(encoded, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
        raise ValueError(f"{name}: gave shape {rows.shape} for {count} texts; expected ({count}, D)")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Float32 = np.divide(rows, norms, out=np.zeros_like(rows), where=norms != 0)
    return units


def _join(kept: Sequence[Path], path: Path, count: int) -> Float32:
    """All documents' rows, streamed into one file and mapped, so that they need not fit in memory."""
    dim = np.load(kept[0], mmap_mode="r", allow_pickle=False).shape[1]
    with open(path, "wb") as file:
        for part in kept:
            rows = np.load(part, allow_pickle=False)
            if rows.shape[1] != dim:
                raise ValueError(
                    f"{part}: {rows.shape[1]} numbers a row, {dim} before; delete {part.parent} and run again"
                )
            file.write(rows.data)
    return np.memmap(path, np.float32, "r", shape=(count, dim))


def _write_chunks(path: Path, documents: Sequence[Document], chunks: Sequence[list[str]]) -> None:
    # neither the time nor the temporary name goes into the file: the same texts, the same bytes
    with (
        atomic_path(path) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file,
    ):
        for document, texts in zip(documents, chunks, strict=True):
            file.write(json.dumps({"id": document.id, "chunks": texts}, ensure_ascii=False).encode() + b"\n")

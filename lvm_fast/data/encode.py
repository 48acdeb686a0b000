"""Documents -> chunks -> vectors -> `ChainStore`, with any encoder; a run that was cut off goes on where it stopped."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Protocol

import numpy as np

from .._util.atomic_files import atomic_path
from .._util.numbers import whole_number
from .._util.text import unicode_text
from .chain_store import ChainStore
from .chunking import chunk_text
from .documents import Document
from .number_formats import Float32, check_rows
from .source import check_store_files, chunks_path
from .vectors import check_dtype

_GROUP = 256  # chunks given to the encoder at once
_KEPT = re.compile(r"[0-9a-f]{64}\.npy")  # a finished document


class Encoder(Protocol):
    """A text encoder as `encode_documents` needs it; `SentenceEncoder` is one.

    Attributes:
        name: what the store's metadata call it.
        max_tokens: the most tokens it reads of a text, or None.
    """

    name: str
    max_tokens: int | None

    def encode(self, texts: list[str]) -> Any:
        """Return vectors (n, D) of n texts, as numpy reads them."""

    def count_tokens(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word."""


def encode_documents(
    documents: Sequence[Document],
    encoder: Encoder,
    output: str | os.PathLike[str],
    *,
    chunk_tokens: int = 20,
    dtype: str = "float16",
    source: str = "",
    progress: bool = True,
    overwrite: bool = False,
) -> ChainStore:
    """Encode documents, one chain each, into a store of unit vectors, with the texts of the chunks beside it.

    Finished documents are kept in the folder `<output>.partial`, each under a digest of encoder and chunks, until the
    store is written: the same call again goes on from there.

    Args:
        output: the store; the chunks go to `<stem of output>.chunks.jsonl.gz`, one line {"id", "chunks"} a document.
        chunk_tokens: about how many tokens a chunk has; documents that come as chunks are left as they are.
        dtype: how to store the vectors.
        source: what the store's metadata say that the documents are.
        progress: show a bar on a terminal.
        overwrite: replace a store, and the chunks beside it, that are there already.

    Returns:
        The store, opened.

    Raises:
        ValueError: no documents, one without text or whose id or text is no Unicode, two of one id, `chunk_tokens` or
            `dtype` out of range, an encoder that gives NaN, zero vectors or the wrong shape, or an output that is an
            input.
        FileExistsError: the store or the chunks are there, and `overwrite` is False.
        OSError: a file cannot be written.
    """
    output = Path(output)
    check_store_files(output, "encode_documents: output", input_files(documents, encoder.name), overwrite)
    check_dtype(dtype, "encode_documents: dtype")
    chunk_tokens = whole_number(chunk_tokens, "encode_documents: chunk_tokens")
    metadata = {"encoder": unicode_text(encoder.name), "source": unicode_text(source), "chunk_tokens": chunk_tokens}
    _check_ids(documents)
    chunks = _chunks(documents, encoder, chunk_tokens)
    partial = output.with_name(f"{output.name}.partial")
    partial.mkdir(exist_ok=True)
    kept = [partial / f"{_digest(encoder.name, texts)}.npy" for texts in chunks]
    _encode_missing(documents, chunks, kept, encoder, progress)
    offsets = np.cumsum([0, *map(len, chunks)])
    rows = _join(kept, [len(texts) for texts in chunks], partial)
    with atomic_path(chunks_path(output)) as temporary:  # takes its name right after the store does
        _write_chunks(temporary, documents, chunks)
        ChainStore.write(output, rows, offsets, [document.id for document in documents], metadata, dtype=dtype)
    _remove(partial)
    return ChainStore.open(output)


def input_files(documents: Sequence[Document], encoder: str) -> list[Path]:
    """Return the files that an encoding reads: those of the documents, and of an encoder in a folder of its own."""
    own = Path(encoder)
    weights = [file for file in own.rglob("*") if file.is_file()] if own.is_dir() else []
    return [*weights, *{document.path for document in documents if document.path is not None}]


def encode_context(document: Document, encoder: Encoder, most: int, chunk_tokens: int = 20) -> tuple[Float32, int]:
    """Return the last chunks of one document as unit vectors, for a model to go on from.

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
    most = whole_number(most, "encode_context: most", least=1)
    chunk_tokens = whole_number(chunk_tokens, "encode_context: chunk_tokens")
    (chunks,) = _chunks([document], encoder, chunk_tokens)
    last = chunks[-most:]
    rows = _unit_rows(encoder.encode(last), len(last), encoder.name)
    check_rows(rows, f"{encoder.name}: document {document.id!r}", len(chunks) - len(last))
    return rows, len(chunks)


def _check_ids(documents: Sequence[Document]) -> None:
    """Raise ValueError for two documents of one id: the store could not be written in the end."""
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            raise ValueError(f"encode_documents: two documents are called {document.id!r}; expected different ids")
        seen.add(document.id)


def _chunks(documents: Sequence[Document], encoder: Encoder, chunk_tokens: int) -> list[list[str]]:
    if not documents:
        raise ValueError("encode_documents: no documents; expected at least one")
    longest = (encoder.max_tokens or 1_000_000) * 2 // 3  # chunks may be half longer than wanted
    if not 1 <= chunk_tokens <= longest:
        raise ValueError(f"encode_documents: chunk_tokens = {chunk_tokens}; {encoder.name} allows 1 to {longest}")
    chunks = []
    for document in documents:
        document.check("encode_documents")
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
    from .._util.terminal import progress_bar

    waiting = deque(index for index, path in enumerate(kept) if not path.exists())
    texts = [text for index in waiting for text in chunks[index]]
    total = sum(map(len, chunks))
    held = None
    with progress_bar(total, "chunk", None if progress else False, initial=total - len(texts)) as bar:
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


def _join(kept: Sequence[Path], counts: Sequence[int], partial: Path) -> Float32:
    """All documents' rows, streamed into one file without a name and mapped, so that they need not fit in memory."""
    dim = _kept_rows(kept[0], counts[0]).shape[1]
    with TemporaryFile(dir=partial) as file:
        for part, count in zip(kept, counts, strict=True):
            rows = _kept_rows(part, count)
            if rows.shape[1] != dim:
                raise ValueError(f"{part}: {rows.shape[1]} numbers a row, {dim} before; delete {partial} and run again")
            file.write(np.ascontiguousarray(rows).data)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=(sum(counts), dim))


def _kept_rows(path: Path, count: int) -> Float32:
    """Return the rows of a finished document, mapped."""
    try:
        rows: Float32 = np.load(path, mmap_mode="r", allow_pickle=False)
        if rows.dtype == np.float32 and rows.ndim == 2 and len(rows) == count:
            return rows
    except (ValueError, EOFError):
        pass
    raise ValueError(f"{path}: damaged; expected {count} rows of an earlier run; delete it to encode them again")


def _remove(partial: Path) -> None:
    """Remove the finished documents, those of other runs too, and the folder, unless it holds what is not ours."""
    for path in partial.iterdir():
        if _KEPT.fullmatch(path.name):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        partial.rmdir()


def _write_chunks(path: Path, documents: Sequence[Document], chunks: Sequence[list[str]]) -> None:
    # neither the time nor the temporary name goes into the file: the same texts, the same bytes
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for document, texts in zip(documents, chunks, strict=True):
            file.write(json.dumps({"id": document.id, "chunks": texts}, ensure_ascii=False).encode() + b"\n")

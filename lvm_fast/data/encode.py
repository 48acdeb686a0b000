"""Documents -> chunks -> vectors -> `ChainStore`, with any encoder; a run that was cut off goes on where it stopped."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import numpy as np

from .._util.atomic_files import atomic_path, atomic_write_text
from .._util.numbers import whole_number
from .._util.strict_json import read_json, write_json
from .._util.text import unicode_text
from .chain_store import ChainStore
from .chunking import chunk_text
from .documents import Document
from .encoding.encode_texts import encode_texts
from .encoding.encoder import FLOAT32, checked_rows, precision_of
from .encoding.encoder import Encoder as Encoder
from .encoding.growth import Growth, StoredTexts
from .encoding.kept_rows import KeptRows, text_key
from .encoding.partial_folder import TEXTS, PartialFolder, file_digest
from .encoding.precision_gate import check_precision
from .encoding.processes import OneProcess, Processes
from .joined_rows import JoinedRows
from .number_formats import RAW_DTYPES, Float32, narrow
from .source import check_store_files
from .vectors import Vectors, check_dtype, join_vectors

CHUNK_TOKENS = 20
DTYPE = "float16"


def encode_documents(
    documents: Sequence[Document],
    encoder: Encoder,
    output: str | os.PathLike[str],
    *,
    chunk_tokens: int | None = None,
    dtype: str | None = None,
    source: str = "",
    progress: bool = True,
    overwrite: bool = False,
    append: bool = False,
    prune: bool = False,
    processes: Processes | None = None,
    say: Callable[[str], None] | None = None,
) -> ChainStore:
    """Encode documents, one chain each, into a store of unit vectors, with the texts of the chunks beside it.

    Every different chunk is encoded once. Finished vectors are kept in the folder `<output>.partial`, each under a
    digest of encoder, precision and text, until the store is written: the same call again goes on from there, also
    after the process was killed. An encoder of another precision than float32 is checked first, on 512 of the chunks
    (`lvm_fast.data.encoding.precision_gate`); what was found stands in the metadata as "precision".

    With `append` a store grows: documents that it lacks come after its chains, those whose chunks have changed replace
    their chains, and what it has a vector of is not encoded again. Where nothing has changed, nothing is written.

    Args:
        output: the store; the chunks go to `<stem of output>.chunks.jsonl.gz`, one line {"id", "chunks"} a document.
        chunk_tokens: about how many tokens a chunk has (20, or those of the store that grows); documents that come as
            chunks are left as they are.
        dtype: how to store the vectors ("float16", or as the store that grows does).
        source: what the store's metadata say that the documents are.
        progress: show how far it is.
        overwrite: replace a store, and the chunks beside it, that are there already.
        append: add to the store `output`.
        prune: with `append`, remove the chains whose documents are not given.
        processes: those that share the work, each called with the same arguments; one alone when left out. The store
            is the same, byte for byte, where each computes with the same number of threads.
        say: is told in a line what an `append` changes.

    Returns:
        The store, opened.

    Raises:
        ValueError: no documents, one without text or whose id or text is no Unicode, two of one id, `chunk_tokens` or
            `dtype` out of range or not the store's, a precision that is too coarse, an encoder that gives NaN, zero
            vectors or the wrong shape, or an output that is an input.
        FileExistsError: the store or the chunks are there, and neither `overwrite` nor `append` is True.
        FileNotFoundError: with `append`, the store or the chunks are not there.
        BlockingIOError: another process encodes to this store.
        OSError: a file cannot be written.
    """
    output, processes = Path(output), processes or OneProcess()
    _check_output(output, input_files(documents, encoder.name), overwrite, append, prune)
    check_dtype(dtype or DTYPE, "encode_documents: dtype")
    if chunk_tokens is not None:
        chunk_tokens = whole_number(chunk_tokens, "encode_documents: chunk_tokens")
    _check_ids(documents)
    folder = PartialFolder(output)
    with ExitStack() as claim:
        processes.on_rank_zero(claim.enter_context, folder.claimed())
        before = StoredTexts.open(output) if append else None
        settings = _Settings.of(before, encoder, chunk_tokens, dtype, source)
        chunks = _chunks(documents, encoder, settings.chunk_tokens)
        given: dict[str, Sequence[str]] = {}
        given |= zip((document.id for document in documents), chunks, strict=True)
        growth = Growth.of(given, before, prune)
        if say is not None and append:
            say(str(growth))
        if growth.is_nothing:
            processes.on_rank_zero(folder.forget)
        else:
            precision = settings.precision or processes.on_rank_zero(_gate, folder, chunks, encoder)
            kept, keys = _encode_new(growth, encoder, folder, processes, progress)
            processes.on_rank_zero(_write, folder, growth, settings, precision, kept, keys)
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
    return checked_rows(encoder, last, f"document {document.id!r}", len(chunks) - len(last)), len(chunks)


class _Settings(NamedTuple):
    """What a store is encoded with: its metadata, but for texts and precision, and how its numbers are stored."""

    metadata: dict[str, Any]
    dtype: str
    chunk_tokens: int
    precision: dict[str, Any] | None  # what the check of it has found, where the store says so

    @classmethod
    def of(
        cls, before: StoredTexts | None, encoder: Encoder, chunk_tokens: int | None, dtype: str | None, source: str
    ) -> _Settings:
        """Take the settings of the store that grows, if any. Raises ValueError where others were asked for."""
        name, source = unicode_text(encoder.name), unicode_text(source)
        if before is None:
            tokens = CHUNK_TOKENS if chunk_tokens is None else chunk_tokens
            fresh = {"encoder": name, "source": source, "chunk_tokens": tokens}
            return cls(fresh, dtype or DTYPE, tokens, None)
        metadata = dict(before.store.metadata)
        record = metadata.get("precision")
        for what, asked, has in (
            ("encoder", name, metadata.get("encoder")),
            ("chunk_tokens", chunk_tokens, metadata.get("chunk_tokens")),
            ("dtype", dtype, before.store.vectors.dtype_name),
            ("precision", precision_of(encoder), record["name"] if record else FLOAT32),
        ):
            if asked not in (None, has):
                raise ValueError(f"encode_documents: {what} = {asked!r}; expected {has!r}, as in the store that grows")
        sources = [*filter(None, metadata.get("source", "").split(", "))]
        metadata["source"] = ", ".join(dict.fromkeys([*sources, *filter(None, source.split(", "))]))
        return cls(metadata, before.store.vectors.dtype_name, int(metadata["chunk_tokens"]), record)


def _check_output(output: Path, inputs: Sequence[Path], overwrite: bool, append: bool, prune: bool) -> None:
    if append and overwrite:
        raise ValueError("encode_documents: append and overwrite: expected one of them, got both")
    if prune and not append:
        raise ValueError("encode_documents: prune: expected append with it")
    check_store_files(output, "encode_documents: output", inputs, overwrite or append)


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


def _gate(folder: PartialFolder, chunks: Sequence[Sequence[str]], encoder: Encoder) -> dict[str, Any] | None:
    """Check the encoder's precision, unless that was done before; None for float32."""
    if precision_of(encoder) == FLOAT32:
        return None
    known = [encoder.name, precision_of(encoder)]
    if folder.gate.exists():
        found = read_json(folder.gate.read_text(encoding="utf-8"))
        if found["of"] == known:
            record: dict[str, Any] = found["record"]
            return record
    record = check_precision(chunks, encoder)
    atomic_write_text(folder.gate, write_json({"of": known, "record": record}, "precision"))
    return record


def _encode_new(
    growth: Growth, encoder: Encoder, folder: PartialFolder, processes: Processes, progress: bool
) -> tuple[KeptRows, list[bytes]]:
    """Encode what there is no vector of: what is kept then, and the keys of the new texts in order."""
    from .._util.terminal import progress_bar

    texts = growth.new_texts()
    keys = [text_key(encoder.name, precision_of(encoder), text) for text in texts]
    kept = KeptRows(folder.path, processes.rank)
    processes.barrier()  # nobody adds before all have read
    done = sum(key in kept for key in keys)
    shown = None if progress and processes.rank == 0 else False
    with closing(kept), progress_bar(len(texts), "chunk", shown, initial=done) as bar:

        def advance(count: int) -> None:
            bar.update(min(count * processes.world_size, len(texts) - bar.n))  # the others are about as far

        encode_texts(texts, keys, kept, encoder, processes, growth.place_of, advance)
    processes.barrier()
    return kept.reopened(), keys


def _write(
    folder: PartialFolder,
    growth: Growth,
    settings: _Settings,
    precision: dict[str, Any] | None,
    kept: KeptRows,
    keys: list[bytes],
) -> None:
    """Write store and texts, and give them their names."""
    with atomic_path(folder.new_texts) as temporary:
        _write_chunks(temporary, growth.chains)
    metadata = settings.metadata | {TEXTS: file_digest(folder.new_texts)}
    if precision is not None:
        metadata["precision"] = precision
    vectors = _vectors(growth, settings.dtype, kept.rows(keys) if keys else None, folder)
    chosen = vectors.select(growth.places(growth.new_texts()))
    ids, origins = list(growth.chains), growth.origins()
    store = ChainStore(chosen, growth.offsets(), ids, metadata, origins=origins, where="encode_documents")
    store.save(folder.new_store, settings.dtype)
    folder.publish()


def _vectors(growth: Growth, dtype: str, new: JoinedRows | None, folder: PartialFolder) -> Vectors:
    """Join the rows of the store before, as they are stored, and the new ones."""
    if growth.before is None:
        assert new is not None  # every chain has a chunk
        return Vectors(new, FLOAT32)
    old = growth.before.store.vectors
    if new is None:
        return join_vectors([], [old])
    return join_vectors([], [old, _narrowed(new, dtype, folder)])


def _narrowed(rows: JoinedRows, dtype: str, folder: PartialFolder) -> Vectors:
    """Return float32 rows in another format, in a file without a name that is mapped."""
    scales = []
    with TemporaryFile(dir=folder.path) as file:
        for _, block in Vectors(rows, FLOAT32).blocks():
            raw, factor = (block.raw, None) if dtype == FLOAT32 else narrow(block[:], dtype)
            file.write(np.ascontiguousarray(raw).data)
            scales.append(factor)
        file.flush()
        stored = np.memmap(file, RAW_DTYPES[dtype], "r", shape=rows.shape)
    factors = [factor for factor in scales if factor is not None]
    return Vectors(stored, dtype, np.concatenate(factors) if factors else None)


def _write_chunks(path: Path, chains: Mapping[str, Sequence[str]]) -> None:
    # neither the time nor the temporary name goes into the file: the same texts, the same bytes
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:
        for name, texts in chains.items():
            file.write(json.dumps({"id": name, "chunks": list(texts)}, ensure_ascii=False).encode() + b"\n")

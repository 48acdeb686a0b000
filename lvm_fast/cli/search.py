"""`lvm-fast search`: the chunks of a store nearest to a text, a vector or another chunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.search import ChunkTexts, Hit
    from ..data.store import ChainStore

HELP = "show the chunks of a chain store nearest to a text, vectors or a chunk"

WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", required=True, help="the chain store, or 'sample' for the bundled one")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", help="a text to encode and look for")
    query.add_argument("--vectors", type=Path, metavar="FILE", help="a .npy of vectors to look for, (B, D) or (D,)")
    query.add_argument("--chunk", type=int, metavar="ROW", help="a chunk of the store, by its row; itself left out")
    parser.add_argument("-k", type=int, default=10, metavar="N", help="how many chunks (default: %(default)s)")
    parser.add_argument(
        "--model", help="for --text: a sentence-transformers model (default: the one the store was encoded with)"
    )
    parser.add_argument(
        "--text-of",
        type=Path,
        metavar="FILE",
        help='the chunks\' texts, JSON lines {"id", "chunks"} (default: what `lvm-fast encode` wrote beside the store)',
    )
    parser.add_argument("--device", default="auto", help="for --text: auto, cpu, mps or cuda (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    from ..data.search import search
    from ..data.source import open_source

    if args.model and args.text is None:
        raise ValueError("search: --model encodes a --text; there is none")
    store = open_source(args.data, "search: data")
    texts = _texts(args)
    found = search(store, _queries(args, store), args.k, texts=texts, leave_out=args.chunk)
    print(_as_json(found) if args.json else _as_tables(found))
    return 0


def _texts(args: argparse.Namespace) -> ChunkTexts | None:
    from ..data.search import ChunkTexts

    if args.text_of:
        return ChunkTexts(args.text_of)
    return None if args.data == "sample" else ChunkTexts.beside(args.data)


def _queries(args: argparse.Namespace, store: ChainStore) -> Any:
    """(B, D) rows to look for."""
    if args.vectors:
        return _read_vectors(args.vectors, store.dim)
    if args.text is not None:
        return _encoded(args, store)
    if not 0 <= args.chunk < len(store.vectors):
        raise ValueError(f"search: --chunk {args.chunk}: expected a row from 0 to {len(store.vectors) - 1}")
    return store.vectors[args.chunk : args.chunk + 1]


def _read_vectors(path: Path, dim: int) -> Any:
    import numpy as np

    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"search: {path}: no .npy file of numbers: {error}") from error
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f":
        raise ValueError(f"search: {path}: expected a .npy file of floating-point numbers")
    if vectors.ndim not in (1, 2) or vectors.shape[-1] != dim or not len(vectors):
        raise ValueError(f"search: {path}: expected shape (B, {dim}) or ({dim},), got {vectors.shape}")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the bank reports by row
        return np.atleast_2d(vectors.astype(np.float32))


def _encoded(args: argparse.Namespace, store: ChainStore) -> Any:
    import numpy as np

    from ..data.sentence_encoder import SentenceEncoder
    from ..device import choose_device

    name = args.model or store.metadata.get("encoder")
    if not isinstance(name, str):
        raise ValueError("search: --text: the store does not say what it was encoded with; name it with --model")
    if not args.text.strip():
        raise ValueError("search: --text: expected words, got an empty text")
    rows = np.asarray(SentenceEncoder(name, str(choose_device(args.device))).encode([args.text]), np.float32)
    if rows.shape != (1, store.dim):
        raise ValueError(f"search: {name} gives vectors of {rows.shape[-1]} numbers; the store's have {store.dim}")
    return rows


def _as_json(found: list[list[Hit]]) -> str:
    import json
    from dataclasses import asdict

    return json.dumps([[asdict(hit) for hit in hits] for hits in found], ensure_ascii=False, indent=1)


def _as_tables(found: list[list[Hit]]) -> str:
    if len(found) == 1:
        return _as_table(found[0])
    return "\n\n".join(f"query {query}\n{_as_table(hits)}" for query, hits in enumerate(found))


def _as_table(hits: list[Hit]) -> str:
    """One line a hit, and its text below, within WIDTH columns."""
    import textwrap

    rows = [("rank", "score", "chunk", "position", "chain")]
    rows += [
        (str(rank), f"{hit.score:.4f}", str(hit.chunk), str(hit.position), _printable(hit.chain))
        for rank, hit in enumerate(hits, 1)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    indent = " " * (widths[0] + 2)
    lines = []
    for row, hit in zip(rows, [None, *hits], strict=True):
        cells = [cell.rjust(width) for cell, width in zip(row[:4], widths, strict=True)]
        lines.append(_cut("  ".join([*cells, row[4]])))
        if hit and hit.text:
            lines += textwrap.wrap(_printable(hit.text), WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)


def _printable(text: str) -> str:
    """Text that cannot command a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else line[: WIDTH - 1] + "…"

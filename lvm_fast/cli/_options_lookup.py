"""Adds and reads the options of commands that look chunks up, and prints the hits."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._options import add_device, add_encoder, path_or_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.chain_store import ChainStore
    from ..data.sentence_encoder import SentenceEncoder
    from ..retrieval.search import ChunkTexts, Hit, Place

_PLACES = 3  # most copies of a hit that a table names; JSON has them all


def add_lookup_options(parser: argparse.ArgumentParser, of_run: bool = False) -> None:
    """Add the options; with `of_run` the data is a training run's own unless given."""
    default = " (default: the run's own)" if of_run else ""
    parser.add_argument(
        "--data",
        type=path_or_name,
        required=not of_run,
        metavar="PATH|sample",
        help=f"the chain store, or 'sample' for the bundled one{default}",
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="how many chunks (default: %(default)s)")
    parser.add_argument(
        "--text-of",
        type=Path,
        metavar="FILE",
        help='the chunks\' texts, JSON lines {"id", "chunks"} (default: what `lvm-fast encode` wrote beside the store)',
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    meaning = "for --text: a sentence-transformers model (default: the one that the store was encoded with)"
    add_encoder(parser, meaning, old_name=not of_run)
    add_device(parser)


def chunk_texts(args: argparse.Namespace) -> ChunkTexts | None:
    """Open the texts of the store's chunks, where there are any."""
    from ..retrieval.search import ChunkTexts

    if args.text_of:
        return ChunkTexts(args.text_of)
    return None if args.data == "sample" else ChunkTexts.beside(args.data)


def read_vectors(path: Path, dim: int, where: str) -> Any:
    """Read vectors (B, dim) float32 from a .npy of (B, dim) or (dim,). Raises ValueError, beginning with `where`."""
    import numpy as np

    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{where}: {path}: no .npy file of numbers: {error}") from error
    if not isinstance(vectors, np.ndarray) or vectors.dtype.kind != "f":
        raise ValueError(f"{where}: {path}: expected a .npy file of floating-point numbers")
    if vectors.ndim not in (1, 2) or vectors.shape[-1] != dim or not len(vectors):
        raise ValueError(f"{where}: {path}: expected shape (B, {dim}) or ({dim},), got {vectors.shape}")
    with np.errstate(over="ignore"):  # an overflow becomes infinity, which the caller reports
        return np.atleast_2d(vectors.astype(np.float32))


def encoder_for(store: ChainStore, args: argparse.Namespace, where: str) -> SentenceEncoder:
    """Load the encoder that was asked for, or the store's own; messages begin with `where`."""
    from ..data.sentence_encoder import SentenceEncoder

    name = args.encoder or store.metadata.get("encoder")
    if not isinstance(name, str):
        raise ValueError(f"{where}: --text: the store does not say what it was encoded with; name it with --encoder")
    return SentenceEncoder(name, args.device)


def check_encoder(args: argparse.Namespace, where: str) -> None:
    """Raise ValueError for an encoder that would not be used."""
    if args.encoder and args.text is None:
        raise ValueError(f"{where}: --encoder encodes a --text; there is none")


def check_width(rows: Any, encoder: SentenceEncoder, store: ChainStore, where: str) -> None:
    """Raise ValueError unless the encoder's vectors are as wide as the store's."""
    width = rows.shape[-1]
    if width != store.dim:
        raise ValueError(f"{where}: {encoder.name} gives vectors of {width} numbers; the store's have {store.dim}")


def format_hits(queries: list[list[Hit]], as_json: bool) -> str:
    """Return the hits of each query as JSON, or as a table each."""
    return _as_json(queries) if as_json else _as_tables(queries)


def _as_json(queries: list[list[Hit]]) -> str:
    import json
    import sys
    from dataclasses import asdict

    is_unicode = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().startswith("utf")
    return json.dumps([[asdict(hit) for hit in hits] for hits in queries], ensure_ascii=not is_unicode, indent=1)


def _as_tables(queries: list[list[Hit]]) -> str:
    if len(queries) == 1:
        return _as_table(queries[0])
    return "\n\n".join(f"query {query}\n{_as_table(hits)}" for query, hits in enumerate(queries))


def _as_table(hits: list[Hit]) -> str:
    """Return one line for each hit, and its text below, as wide as the terminal."""
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
            lines += textwrap.wrap(_printable(hit.text), _width(), initial_indent=indent, subsequent_indent=indent)
        if hit and hit.also_in:
            lines.append(_cut(f"{indent}also in {_name_places(hit.also_in)}"))
    return "\n".join(lines)


def _name_places(places: Sequence[Place]) -> str:
    """Name the first few places, and say how many more there are."""
    named = [f"{_printable(place.chain)} at {place.position}" for place in places[:_PLACES]]
    more = len(places) - len(named)
    return ", ".join([*named, *([f"and {more:,} more"] if more else [])])


def _printable(text: str) -> str:
    """Replace characters that could control a terminal by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(line: str) -> str:
    width = _width()
    return line if len(line) <= width else line[: width - 1] + "…"


def _width() -> int:
    from .._util.terminal import terminal_width

    return terminal_width()

"""Adds and reads the options of commands that look chunks up, and prints the hits."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._json_output import add_json, print_json
from ._options import add_device, add_encoder, path_or_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..data.chain_store import ChainStore
    from ..data.sentence_encoder import SentenceEncoder
    from ..retrieval.search import ChunkTexts, Hit, Place

_PLACES = 3  # most copies of a hit that a list names; JSON has them all


def add_lookup_options(parser: argparse.ArgumentParser, of_run: bool = False) -> None:
    """Add the options; with `of_run` the data is a training run's own unless given."""
    default = " (default: the run's own)" if of_run else ""
    parser.add_argument(
        "--data",
        type=path_or_name,
        required=not of_run,
        metavar="PATH|sample",
        help=f"the chain store, or 'sample'{default}",
    )
    parser.add_argument("-k", type=int, default=10, metavar="N", help="how many chunks (default: %(default)s)")
    parser.add_argument(
        "--text-of",
        type=Path,
        metavar="FILE",
        help='the chunks\' texts, JSON lines {"id", "chunks"} (default: what `lvm-fast encode` wrote beside the store)',
    )
    add_json(parser)
    meaning = "for --text: a sentence-transformers model (default: the one that the store was encoded with)"
    add_encoder(parser, meaning, old_name=not of_run)
    add_device(parser)


def chunk_texts(args: argparse.Namespace, store: ChainStore) -> ChunkTexts | None:
    """Open the texts of the store's chunks, where there are any."""
    from ..retrieval.search import ChunkTexts

    return ChunkTexts(args.text_of) if args.text_of else ChunkTexts.of(store)


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
        raise ValueError(
            f"{where}: {encoder.name} gives vectors of {width} numbers; expected {store.dim}, as in the store"
        )


def print_hits(queries: list[list[Hit]], as_json: bool) -> None:
    """Print the hits of each query as JSON, or as a list each."""
    if as_json:
        print_json([[asdict(hit) for hit in hits] for hits in queries])
    else:
        print(list_hits(queries))


def list_hits(queries: list[list[Hit]]) -> str:
    """Return the hits of each query as a list that people read, as wide as the terminal."""
    if len(queries) == 1:
        return _as_list(queries[0])
    return "\n\n".join(f"query {query}\n{_as_list(hits)}" for query, hits in enumerate(queries))


def _as_list(hits: list[Hit]) -> str:
    """Return each hit: its rank, its text where that is known, and below it the place, the score and the row."""
    import textwrap

    from .._util.terminal import terminal_width

    columns, width = terminal_width(), len(str(len(hits))) + 2
    indent = " " * width
    lines = []
    for rank, hit in enumerate(hits, 1):
        where = f", chunk {hit.position} (score {hit.score:.4f}, row {hit.chunk})"
        place = _cut(_printable(hit.chain), columns - width - len(where)) + where
        below = [place, *([f"also in {_name_places(hit.also_in)}"] if hit.also_in else [])]
        said = textwrap.wrap(_printable(hit.text), columns - width) if hit.text else []
        first, *rest = [*said, *(_cut(line, columns - width) for line in below)]
        lines.append(f"{rank}.".ljust(width) + first)
        lines += [indent + line for line in rest]
    return "\n".join(lines)


def _name_places(places: Sequence[Place]) -> str:
    """Name the first few places, and say how many more there are."""
    named = [f"{_printable(place.chain)} at {place.position}" for place in places[:_PLACES]]
    more = len(places) - len(named)
    return ", ".join([*named, *([f"and {more:,} more"] if more else [])])


def _printable(text: str) -> str:
    """Replace characters that could control a terminal by spaces."""
    return "".join(character if character.isprintable() else " " for character in text)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"

"""`lvm-fast search`: the chunks of a store nearest to a text, a vector or another chunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import found

if TYPE_CHECKING:
    from ..data.store import ChainStore

HELP = "show the chunks of a chain store nearest to a text, vectors or a chunk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    found.add_arguments(parser)
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", help="a text to encode and look for")
    query.add_argument("--vectors", type=Path, metavar="FILE", help="a .npy of vectors to look for, (B, D) or (D,)")
    query.add_argument("--chunk", type=int, metavar="ROW", help="a chunk of the store, by its row; itself left out")
    parser.add_argument(
        "--model", help="for --text: a sentence-transformers model (default: the one the store was encoded with)"
    )
    parser.add_argument("--device", default="auto", help="for --text: auto, cpu, mps or cuda (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    from ..data.search import search
    from ..data.source import open_source

    if args.model and args.text is None:
        raise ValueError("search: --model encodes a --text; there is none")
    store = open_source(args.data, "search: data")
    texts = found.texts_of(args)
    hits = search(store, _queries(args, store), args.k, texts=texts, leave_out=args.chunk, fold_copies=True)
    print(found.in_print(hits, args.json))
    return 0


def _queries(args: argparse.Namespace, store: ChainStore) -> Any:
    """(B, D) rows to look for."""
    if args.vectors:
        return found.read_rows(args.vectors, store.dim, "search")
    if args.text is not None:
        return _encoded(args, store)
    if not 0 <= args.chunk < len(store.vectors):
        raise ValueError(f"search: --chunk {args.chunk}: expected a row from 0 to {len(store.vectors) - 1}")
    return store.vectors[args.chunk : args.chunk + 1]


def _encoded(args: argparse.Namespace, store: ChainStore) -> Any:
    import numpy as np

    from .._util.text import check_unicode

    check_unicode(args.text, "search: --text")
    if not args.text.strip():
        raise ValueError("search: --text: expected words, got an empty text")
    encoder = found.encoder_for(store, args.model, args.device, "--model", "search")
    rows = np.asarray(encoder.encode([args.text]), np.float32)
    found.check_width(rows, encoder, store, "search")
    return rows

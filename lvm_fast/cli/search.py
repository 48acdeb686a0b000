"""`lvm-fast search`: shows the chunks of a store nearest to a text, vectors or another chunk."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _options_lookup
from ._options import TEXT, read_text

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore

HELP = "show the chunks of a chain store nearest to a text, vectors or a chunk"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    _options_lookup.add_lookup_options(parser)
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--text", metavar=TEXT, help="a text to encode and look for, or @ and the file it is in")
    query.add_argument("--vectors", type=Path, metavar="FILE", help="a .npy of vectors to look for, (B, D) or (D,)")
    query.add_argument("--chunk", type=int, metavar="ROW", help="a chunk of the store, by its row; itself left out")


def run(args: argparse.Namespace) -> int:
    from ..data.source import open_source
    from ..retrieval.search import search

    _options_lookup.check_encoder(args, "search")
    store = open_source(args.data, "search: data")
    texts = _options_lookup.chunk_texts(args, store)
    hits = search(store, _queries(args, store), args.k, texts=texts, leave_out=args.chunk, fold_copies=True)
    _options_lookup.print_hits(hits, args.json)
    return 0


def _queries(args: argparse.Namespace, store: ChainStore) -> Any:
    """Return the vectors to look for, (B, D)."""
    if args.vectors:
        return _options_lookup.read_vectors(args.vectors, store.dim, "search")
    if args.text is not None:
        return _encode_text(args, store)
    if not 0 <= args.chunk < len(store.vectors):
        raise ValueError(f"search: --chunk {args.chunk}: expected a row from 0 to {len(store.vectors) - 1}")
    return store.vectors[args.chunk : args.chunk + 1]


def _encode_text(args: argparse.Namespace, store: ChainStore) -> Any:
    import numpy as np

    document = read_text(args.text, "search")
    encoder = _options_lookup.encoder_for(store, args, "search")
    rows = np.asarray(encoder.encode([document.text or " ".join(document.chunks)]), np.float32)
    _options_lookup.check_width(rows, encoder, store, "search")
    return rows

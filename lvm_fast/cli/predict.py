"""`lvm-fast predict`: what comes next? A model, a text or vectors -> the nearest chunks of a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import found

if TYPE_CHECKING:
    from ..data.store import ChainStore

HELP = "predict what comes after a text, and show the nearest chunks of a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a training run, a checkpoint (.pt), or the folder of a saved model or a router"
    )
    context = parser.add_mutually_exclusive_group(required=True)
    context.add_argument("--text", type=Path, metavar="FILE", help="the text so far: a .txt or .md file")
    context.add_argument(
        "--vectors", type=Path, metavar="FILE", help="the vectors so far: a .npy, (N, D), oldest first"
    )
    found.add_arguments(parser)
    parser.add_argument(
        "--encoder", help="for --text: a sentence-transformers model (default: the one the store was encoded with)"
    )
    parser.add_argument(
        "--context-length", type=int, metavar="N", help="most vectors the model sees (default: as trained, else 100)"
    )
    parser.add_argument(
        "--weights", default="float32", help="float32 (default), or for a memory_gru on the CPU bfloat16 or int8"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, mps or cuda (default: %(default)s)")


def run(args: argparse.Namespace) -> int:
    from .._util.text import unicode_text
    from ..data.search import search
    from ..data.source import open_source
    from ..device import choose_device
    from ..training.runs import open_run

    if args.encoder and args.text is None:
        raise ValueError("predict: --encoder encodes a --text; there is none")
    if args.context_length is not None and args.context_length < 1:
        raise ValueError(f"predict: --context-length = {args.context_length}; expected at least 1")
    opened = open_run(args.model, "predict")
    model = opened.model.to(choose_device(args.device))
    store = open_source(args.data, "predict: data")
    if store.dim != model.input_dim:
        raise ValueError(
            f"predict: the store has {store.dim} dimensions; expected {model.input_dim}, as the model reads"
        )
    most = args.context_length or opened.context_length or 100
    rows, held = _context(args, store, most)
    predicted = model.predict(rows[None], weights=args.weights)
    # what was said does not come next
    hits = search(store, predicted, args.k, texts=found.texts_of(args), unlike=rows, fold_copies=True)
    if not args.json:
        whole = "" if held == len(rows) else f"the last {len(rows):,} of "
        source = unicode_text(args.text or args.vectors)
        print(f"{model.model_type} read {whole}{held:,} chunks of {source}; next may come:\n")
    print(found.in_print(hits, args.json))
    return 0


def _context(args: argparse.Namespace, store: ChainStore, most: int) -> tuple[Any, int]:
    """The last vectors, at most `most` (n, D), and how many there are in all."""
    if args.vectors:
        rows = found.read_rows(args.vectors, store.dim, "predict")
        return rows[-most:], len(rows)
    from ..data.documents import read_documents
    from ..data.encode import encode_context

    encoder = found.encoder_for(store, args.encoder, args.device, "--encoder", "predict")
    documents = read_documents([args.text])
    if len(documents) != 1:
        raise ValueError(f"predict: --text: {args.text} holds {len(documents)} documents; expected one")
    tokens = store.metadata.get("chunk_tokens")
    rows, held = encode_context(documents[0], encoder, most, tokens if isinstance(tokens, int) else 20)
    found.check_width(rows, encoder, store, "predict")
    return rows, held

"""`lvm-fast predict`: predicts what comes after a text or vectors, and shows the nearest chunks of a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _options_lookup
from ._options import TEXT, add_force, read_text

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..training.run_folder import Run

HELP = "predict what comes after a text, and show the nearest chunks of a chain store"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        type=Path,
        nargs="?",
        help="a training run, a checkpoint (.pt), the folder of a saved model or a router, or 'general': the model "
        "that comes with the package, for text encoded by all-mpnet-base-v2",
    )
    parser.add_argument(
        "--model", dest="named", type=Path, metavar="MODEL", help="the model, instead of the first word"
    )
    context = parser.add_mutually_exclusive_group(required=True)
    context.add_argument("--text", metavar=TEXT, help="the text so far, or @ and the file it is in")
    context.add_argument(
        "--vectors", type=Path, metavar="FILE", help="the vectors so far: a .npy, (N, D), oldest first"
    )
    _options_lookup.add_lookup_options(parser, of_run=True)
    parser.add_argument(
        "--context-length", type=int, metavar="N", help="most vectors the model sees (default: as trained, else 100)"
    )
    add_force(parser)
    parser.add_argument(
        "--weights",
        default="float32",
        metavar="float32|bfloat16|int8",
        help="precision of the weights; bfloat16, int8: memory_gru, gru and lstm on the CPU (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from .._util.device import choose_device
    from ..data.source import open_source
    from ..models.base import LatentVectorModel
    from ..models.pretrained import is_packaged
    from ..retrieval.search import search
    from ..spaces import fit_space
    from ..training.run_folder import open_run
    from ..training.spaces import check_encoder

    _options_lookup.check_encoder(args, "predict")
    if (args.model is None) == (args.named is None):
        raise ValueError("predict: expected one model: its path as the first word, or --model")
    args.model = args.model or args.named
    if args.context_length is not None and args.context_length < 1:
        raise ValueError(f"predict: --context-length = {args.context_length}; expected at least 1")
    opened = open_run(args.model, "predict")
    model = opened.model.to(choose_device(args.device))
    args.data = args.data or _data_of(opened)
    store = open_source(args.data, "predict: data")
    if store.dim != model.input_dim:
        raise ValueError(
            f"predict: the store has {store.dim} dimensions; expected {model.input_dim}, as the model reads"
        )
    check_encoder(model, store, "predict", args.force)
    if is_packaged(args.model) and isinstance(model, LatentVectorModel):
        model.set_space(fit_space(store.vectors))  # it was trained in the spaces of other chunks
    longest = args.context_length or opened.context_length or 100
    rows, total = _context(args, store, longest)
    if isinstance(model, LatentVectorModel) and not model.searches_plainly:
        query, keys = model.query(rows[None], weights=args.weights), model.bank(store)
    else:
        query, keys = model.predict(rows[None], weights=args.weights), None
    texts = _options_lookup.chunk_texts(args)
    # `unlike` leaves out what the context has said
    hits = search(store, query, args.k, texts=texts, unlike=rows, fold_copies=True, keys=keys)
    if not args.json:
        part = "" if total == len(rows) else f"the last {len(rows):,} of "
        print(f"{model.model_type} read {part}{total:,} chunks of {_context_name(args)}; next may come:\n")
    print(_options_lookup.format_hits(hits, args.json))
    return 0


def _context(args: argparse.Namespace, store: ChainStore, longest: int) -> tuple[Any, int]:
    """Return the last vectors (n, D), at most `longest`, and how many there are in all."""
    if args.vectors:
        rows = _options_lookup.read_vectors(args.vectors, store.dim, "predict")
        return rows[-longest:], len(rows)
    from ..data.encode import encode_context

    document = read_text(args.text, "predict")
    encoder = _options_lookup.encoder_for(store, args, "predict")
    tokens = store.metadata.get("chunk_tokens")
    rows, total = encode_context(document, encoder, longest, tokens if isinstance(tokens, int) else 20)
    _options_lookup.check_width(rows, encoder, store, "predict")
    return rows, total


def _data_of(run: Run) -> str:
    """Return the data a run was trained on; the sample for a packaged model. Raises ValueError where it is unknown."""
    from ..models.pretrained import is_packaged

    if is_packaged(run.path):
        return "sample"
    if run.recipe is None:
        raise ValueError(f"predict: {run.path} is no training run, so --data has to say which chain store to search")
    return str(run.recipe.data)


def _context_name(args: argparse.Namespace) -> str:
    """Return the name of the context: its file, or "the text"."""
    from .._util.text import unicode_text

    if args.vectors:
        return unicode_text(args.vectors)
    is_file = args.text.startswith("@") and not args.text.startswith("@@")
    return unicode_text(args.text[1:]) if is_file else "the text"

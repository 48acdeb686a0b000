"""`lvm-fast predict`: predicts what comes after a text or vectors, and shows the nearest chunks of a store."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _options_lookup
from ._options import TEXT, add_force, read_text

if TYPE_CHECKING:
    from ..inference.predict_text import TextPredictor
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
        help="precision of the weights; others need a memory_gru, gru or lstm on the CPU (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    from .._util.device import choose_device
    from ..data.source import open_source
    from ..inference.adapt import adapt_to
    from ..inference.predict_text import TextPredictor
    from ..models.base import LatentVectorModel
    from ..models.pretrained import is_packaged
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
    check_encoder(model, store, "predict", args.force)
    if is_packaged(args.model) and isinstance(model, LatentVectorModel):
        adapt_to(model, store)  # it was trained in the spaces of other chunks
    encoder = None if args.text is None else _options_lookup.encoder_for(store, args, "predict")
    ready = TextPredictor(
        model,
        store,
        encoder,
        texts=_options_lookup.chunk_texts(args, store),
        context_length=args.context_length or opened.context_length,
        weights=args.weights,
    )
    rows, total = _context(args, ready)
    hits = [ready.next_chunks(rows, args.k)]
    if not args.json:
        part = "" if total == len(rows) else f"the last {len(rows):,} of "
        print(f"{model.model_type} read {part}{total:,} chunks of {_context_name(args)}; next may come:\n")
    _options_lookup.print_hits(hits, args.json)
    return 0


def _context(args: argparse.Namespace, ready: TextPredictor) -> tuple[Any, int]:
    """Return the last vectors (n, D), as many as the model reads, and how many there are in all."""
    if args.vectors:
        rows = _options_lookup.read_vectors(args.vectors, ready.search.store.dim, "predict")
        return rows[-ready.longest :], len(rows)
    read = ready.read(read_text(args.text, "predict"))
    return read.vectors, read.chunks


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

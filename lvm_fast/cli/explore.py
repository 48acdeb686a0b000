"""`lvm-fast explore`: serves a page on this machine that shows, as one types, what may come next and is nearest."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._util.process import prepare_for_training
from ._options import add_device, add_encoder, add_force, path_or_name

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..data.encode import Encoder

HELP = "open a page on this machine: type a text, see what may come next and what is nearest in a store"

_GENERAL = "general"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data", type=path_or_name, metavar="PATH|sample", help="the chain store, or 'sample'")
    parser.add_argument(
        "--model",
        type=Path,
        metavar="MODEL",
        help="a training run, a checkpoint, or the folder of a saved model or router (default: the general model where "
        "the store is of all-mpnet-base-v2, else the whitened recency mean, which needs no training)",
    )
    parser.add_argument(
        "--context-length", type=int, metavar="N", help="most vectors the model sees (default: as trained, else 100)"
    )
    parser.add_argument("--text-of", type=Path, metavar="FILE", help="the chunks' texts (default: beside the store)")
    add_encoder(parser, "a sentence-transformers model (default: the one that the store was encoded with)", None, False)
    parser.add_argument("--port", type=int, default=0, metavar="N", help="where to listen (default: any free port)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    add_device(parser)
    add_force(parser)


def run(args: argparse.Namespace) -> int:
    import webbrowser

    from ..data.source import open_source
    from ..inference.explorer import Explorer
    from ..inference.predict_text import TextPredictor
    from ..retrieval.chunk_texts import ChunkTexts
    from .explore_server import ExploreServer

    prepare_for_training()  # the encoder's idle threads would else take the cores that the search needs
    if not 0 <= args.port <= 65535:
        raise ValueError(f"explore: --port = {args.port}; expected 0 to 65535")
    if args.context_length is not None and args.context_length < 1:
        raise ValueError(f"explore: --context-length = {args.context_length}; expected at least 1")
    store = open_source(args.data, "explore: data")
    model, name, longest = _model(args, store)
    encoder, reason = _encoder(args, store)
    texts = ChunkTexts(args.text_of) if args.text_of else None
    ready = TextPredictor(model, store, encoder, texts=texts, context_length=args.context_length or longest)
    with ExploreServer(Explorer(ready, name, Path(args.data).name, reason), args.port) as server:
        if reason:
            print(f"Texts cannot be read: {reason}. Documents of the store can be looked at all the same.")
        print(f"{server.address}\nCtrl-C ends it.", flush=True)
        if not args.no_browser:
            webbrowser.open(server.address)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended")
    return 0


def _model(args: argparse.Namespace, store: ChainStore) -> tuple[Any, str, int | None]:
    """Return the model, what it is called, and the most vectors it was trained on."""
    from .._util.device import choose_device
    from ..inference.adapt import adapt_to
    from ..models.base import LatentVectorModel
    from ..models.pretrained import is_packaged, load_model
    from ..models.registry import create_model
    from ..training.run_folder import open_run
    from ..training.spaces import check_encoder

    path = args.model
    if path is None:
        general = load_model(_GENERAL)
        is_its_own = str(store.metadata.get("encoder", "")).rpartition("/")[2] == "all-mpnet-base-v2"
        if not is_its_own or general.input_dim != store.dim:
            form = adapt_to(create_model("whitened_recency", input_dim=store.dim), store)
            return form.eval(), "whitened recency, which needs no training", None
        path = Path(_GENERAL)
    opened = open_run(path, "explore")
    check_encoder(opened.model, store, "explore", args.force)
    if is_packaged(path) and isinstance(opened.model, LatentVectorModel):
        adapt_to(opened.model, store)
    return opened.model.to(choose_device(args.device)), opened.name, opened.context_length


def _encoder(args: argparse.Namespace, store: ChainStore) -> tuple[Encoder | None, str | None]:
    """Return the encoder; or None, and why there is none: documents of the store need none."""
    from ..inference.predict_text import encoder_of

    try:
        encoder = encoder_of(store, args.encoder, "explore", args.device)
    except (ImportError, ValueError) as error:
        if args.encoder:  # it was asked for
            raise
        return None, str(error).rstrip(".")
    width = len(encoder.encode(["width"])[0])
    if width != store.dim:
        raise ValueError(f"explore: {encoder.name} gives vectors of {width} numbers; the store's have {store.dim}")
    return encoder, None

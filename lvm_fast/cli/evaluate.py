"""`lvm-fast evaluate`: a model, held-out chains -> Hit@K beside its baselines, in words, numbers and a picture."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..data.store import ChainStore
    from ..training.recipe import Recipe

HELP = "score a model on held-out chains, beside baselines, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a training run, a checkpoint (.pt) or a saved model's folder")
    parser.add_argument("--data", help="the chain store, or 'sample' for the bundled one (default: the run's own)")
    parser.add_argument("--split", choices=("val", "all"), default="val", help="which chains to score (default: val)")
    parser.add_argument(
        "--pool",
        type=_pool,
        default="targets",
        metavar="targets|store|N",
        help="candidates: the targets (default), every chunk of the data, or a number of chunks",
    )
    run = "(default: the run's, else"
    parser.add_argument("--context-length", type=int, metavar="N", help=f"most vectors a context holds {run} 100)")
    parser.add_argument(
        "--stride", type=int, metavar="N", help=f"vectors between targets {run} half the context length)"
    )
    parser.add_argument("--val-fraction", type=float, metavar="F", help=f"share held out, by chain {run} 0.1)")
    parser.add_argument("--seed", type=int, metavar="N", help=f"seed of split, pool and intervals {run} 42)")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples of chains (default: 1000)")
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="windows at once (default: 256)")
    parser.add_argument("--device", default="auto", help="auto, cpu, mps or cuda (default: %(default)s)")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where report.json, .md and .png go, or report-pool-N.* for another pool (default: beside the model)",
    )


def run(args: argparse.Namespace) -> int:
    import sys

    from ..device import choose_device
    from ..evaluation.evaluate import evaluate
    from ..evaluation.words import summary
    from ..models.pretrained import load_model

    device = choose_device(args.device)
    model = load_model(args.model).to(device)
    folder: Path = args.model if args.model.is_dir() else args.model.parent
    recipe = _recipe(args, folder)
    scored, others = _chains(recipe, args.split)
    report = evaluate(
        model,
        scored,
        context_length=recipe.context_length,
        pool=args.pool,
        stride=recipe.val_stride,
        seed=recipe.seed,
        bootstrap=args.bootstrap,
        batch_size=args.batch_size,
        device=device,
        min_length=recipe.min_length,
        distractors=others,
        data_name=_name_of_data(recipe, args.split),
        progress=sys.stderr.isatty(),
    )
    name = "report" if args.pool == "targets" else f"report-pool-{args.pool}"
    written = report.save(args.output_dir or folder, _history(folder), name)
    print(summary(report))
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _pool(text: str) -> str | int:
    if text in ("targets", "store"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; expected targets, store or a number")
    return int(text)


def _recipe(args: argparse.Namespace, folder: Path) -> Recipe:
    """The recipe the model was trained with, where it lies beside it; what is given on the command line wins."""
    from ..training.recipe import Recipe, read_setting
    from ..training.run_folder import RECIPE

    flags = {
        "context_length": ("--context-length", args.context_length),
        "val_stride": ("--stride", args.stride),
        "val_fraction": ("--val-fraction", args.val_fraction),
        "seed": ("--seed", args.seed),
    }
    given = {name: read_setting(name, value, flag) for name, (flag, value) in flags.items() if value is not None}
    if args.data:
        given |= {"data": args.data, "validation_data": None}
    if (folder / RECIPE).exists():
        return Recipe.from_yaml(folder / RECIPE, **given)
    if not args.data:
        raise ValueError(f"evaluate: {args.model} is no training run, so --data has to say which chains to score")
    return Recipe.from_dict(given)


def _chains(recipe: Recipe, split: str) -> tuple[ChainStore, ChainStore | None]:
    """The chains to score, and those that only lend their chunks to larger pools."""
    from ..data.source import open_source
    from ..training.data import load_data

    if recipe.data != "sample" and not Path(recipe.data).exists():
        raise FileNotFoundError(f"evaluate: no chain store at {recipe.data!r}; say with --data where it is")
    if split == "all":
        return open_source(recipe.data, "evaluate: data"), None
    data = load_data(recipe)
    return data.validation.store, data.training.store


def _name_of_data(recipe: Recipe, split: str) -> str:
    own = recipe.validation_data if split == "val" else None
    return str(own or recipe.data)


def _history(folder: Path) -> list[dict[str, Any]] | None:
    """The run's rows, one an epoch; None where the model lies in no run."""
    import json

    from ..training.checkpoint import HISTORY

    path = folder / HISTORY
    if not path.exists():
        return None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["epochs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"evaluate: {path} is no training history: {error}") from error
    return rows

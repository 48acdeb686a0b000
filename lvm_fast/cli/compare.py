"""`lvm-fast compare`: several models on one split and one pool -> one table and one picture."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import scoring

if TYPE_CHECKING:
    from ..data.store import ChainStore
    from ..data.windows import Windows
    from ..evaluation.compare import Contender
    from ..training.recipe import Recipe
    from ..training.runs import Run

HELP = "score several models on the same queries and candidates, beside baselines and each other"

_MANY = 0.01  # of the targets: some phrases stand in every collection


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", help="training runs, checkpoints (.pt), folders of saved models or routers"
    )
    parser.add_argument("--against", type=Path, help="the model the others are compared with (default: the first)")
    scoring.add_arguments(parser, "that run's")
    parser.add_argument(
        "--allow-leaks", action="store_true", help="also compare models that were trained on what is to be predicted"
    )
    parser.add_argument(
        "--output-dir",
        type=Path,
        default=Path("comparison"),
        help="where comparison.json, .md and .png go (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    import sys

    from ..device import choose_device
    from ..evaluation.compare import check_contenders, compare
    from ..evaluation.compare_words import comparison_summary
    from ..evaluation.documents import check_documents
    from ..training.runs import open_run
    from .warn import plain_warnings

    device = choose_device(args.device)
    reference = args.against or args.models[0]
    paths = {path.absolute(): path for path in (*args.models, reference)}
    runs = {path: open_run(shown, "compare") for path, shown in paths.items()}
    base = runs[reference.absolute()]
    recipe = scoring.scoring_recipe(args, base, "compare")
    inputs = [*args.models, args.against, recipe.data, recipe.validation_data]
    check_documents(args.output_dir, "comparison", "compare: comparison", inputs)
    contenders = _contenders(list(runs.values()))
    with plain_warnings():
        windows, others = _windows(args, recipe, list(runs.values()))
        check_contenders(contenders, windows)
        held_out = recipe if args.split == "val" else None
        contenders = [
            replace(contender, note=_leak(opened, contender.name, held_out, windows, args.allow_leaks))
            for opened, contender in zip(runs.values(), contenders, strict=True)
        ]
    for contender in contenders:
        contender.model.to(device)
    comparison = compare(
        contenders,
        windows,
        pool=args.pool,
        against=contenders[list(runs).index(reference.absolute())].name,
        seed=recipe.seed,
        bootstrap=args.bootstrap,
        batch_size=args.batch_size,
        device=device,
        distractors=others,
        data_name=scoring.name_of_data(recipe, args.split),
        progress=sys.stderr.isatty(),
    )
    written = comparison.save(args.output_dir)
    print(comparison_summary(comparison))
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _contenders(runs: Sequence[Run]) -> list[Contender]:
    """The runs, called by the last part of their path where that tells them apart."""
    from ..evaluation.compare import Contender

    short = [run.name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run.path) for run in runs]
    return [
        Contender(name, run.model, run.context_length, run.training_seconds, run.package_bytes)
        for name, run in zip(names, runs, strict=True)
    ]


def _windows(args: argparse.Namespace, recipe: Recipe, runs: Sequence[Run]) -> tuple[Windows, ChainStore | None]:
    """The queries: targets as far apart as the reference has them, contexts as long as any run can use."""
    from ..data.windows import Windows

    scored, others = scoring.scored_chains(recipe, args.split, "compare")
    if isinstance(scored, Windows):
        return scored, others
    longest = max([recipe.context_length, *(run.context_length or 0 for run in runs)])
    length = recipe.context_length if args.context_length else longest
    stride = recipe.val_stride or Windows.usual_stride(recipe.context_length)
    return Windows(scored, length, stride, recipe.min_length), others


def _leak(run: Run, name: str, scored: Recipe | None, windows: Windows, allowed: bool) -> str | None:
    """What a reader has to know of a run's training data; a warning says it too.

    Raises:
        ValueError: The run was trained on what is to be predicted, and that is not allowed.
    """
    from ..training.overlap import seen_in_training

    found = seen_in_training(run.recipe, scored, windows)
    note = "; ".join(seen.words for seen in found)
    if not allowed and any(seen.share is not None and seen.share > _MANY for seen in found):
        raise ValueError(f"compare: {name}: {note}; expected runs of one split by chain, or --allow-leaks")
    if found:
        warnings.warn(f"compare: {name}: {note}", stacklevel=2)
    return note or None

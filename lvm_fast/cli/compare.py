"""`lvm-fast compare`: scores several models on one split and one pool, as one table and one picture."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from . import _options_query
from ._json_output import add_json, print_json, words_aside

if TYPE_CHECKING:
    from ..data.windows import Windows
    from ..evaluation.compare import Contender
    from ..training.recipe import Recipe
    from ..training.run_folder import Run
    from ._options_query import QueryData

HELP = "score several models on the same queries and candidates, beside baselines and each other"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", type=Path, nargs="+", help="training runs, checkpoints (.pt), folders of saved models or routers"
    )
    parser.add_argument("--against", type=Path, help="the model the others are compared with (default: the first)")
    _options_query.add_evaluation_options(parser, "that run's")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where comparison.json, .md and .png go (default: a new folder, comparison or comparison-N)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the comparison in --output-dir")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    import sys

    from .._util.device import choose_device
    from .._util.folders import new_folder
    from .._util.terminal import is_terminal
    from ..evaluation.compare import check_contenders, compare
    from ..evaluation.compare_markdown import comparison_summary
    from ..evaluation.write_files import check_documents
    from ..training.run_folder import open_run
    from ..training.spaces import check_encoder

    _check_output(args)
    device = choose_device(args.device)
    reference = args.against or args.models[0]
    paths = {path.absolute(): path for path in (*args.models, reference)}
    runs = {path: open_run(shown, "compare") for path, shown in paths.items()}
    base = runs[reference.absolute()]
    recipe = _options_query.query_recipe(args, base, "compare")
    if args.output_dir is not None:
        inputs = [*args.models, args.against, recipe.data, recipe.validation_data]
        check_documents(args.output_dir, "comparison", "compare: comparison", inputs)
    contenders = _contenders(list(runs.values()))
    data = _options_query.open_query_data(recipe, args.split, "compare")
    windows = _windows(args, recipe, list(runs.values()), data)
    check_contenders(contenders, windows)
    for contender in contenders:
        check_encoder(contender.model, windows.store, f"compare: {contender.name}", args.force)
    for place, (opened, contender) in enumerate(zip(runs.values(), contenders, strict=True)):
        where, fair = f"compare: {contender.name}", "runs of one split by chain"
        leaks = _options_query.check_leaks(args, opened, recipe, data, where, windows, fair)
        contenders[place] = replace(contender, note="; ".join(leaks) or None)
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
        exclude_read=_options_query.exclude_read(args),
        training=data.others,
        distractors=data.others,
        data_name=_options_query.data_name(recipe, args.split),
        progress=is_terminal(sys.stderr),
    )
    with words_aside(args.json):
        print(comparison_summary(comparison))
    if args.json:
        print_json(comparison.to_dict())
    sys.stdout.flush()  # before the save, which may fail
    written = comparison.save(args.output_dir or new_folder("comparison"))
    with words_aside(args.json):
        print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _check_output(args: argparse.Namespace) -> None:
    """Raise FileExistsError, before the work, for a folder that holds a comparison already."""
    if args.output_dir is None or args.overwrite:
        return
    if (args.output_dir / "comparison.json").exists():
        raise FileExistsError(f"compare: {args.output_dir} holds a comparison; choose another folder, or --overwrite")


def _contenders(runs: Sequence[Run]) -> list[Contender]:
    """Name the runs by the last part of their path, or by the whole path where the last parts are not unique."""
    from ..evaluation.compare import Contender

    short = [run.name for run in runs]
    names = short if len(set(short)) == len(short) else [str(run.path) for run in runs]
    return [
        Contender(name, run.model, run.context_length, run.training_seconds, run.package_bytes)
        for name, run in zip(names, runs, strict=True)
    ]


def _windows(args: argparse.Namespace, recipe: Recipe, runs: Sequence[Run], data: QueryData) -> Windows:
    """Lay out the queries: the targets of the model compared with, contexts as long as any run can use."""
    from ..data.windows import GivenWindows, Windows

    own = _options_query.windows_to_score(data, recipe)
    longest = max([recipe.context_length, *(run.context_length or 0 for run in runs)])
    if isinstance(own, GivenWindows) or args.context_length or longest == recipe.context_length:
        return own
    return Windows(own.store, longest, own.stride, recipe.min_length)

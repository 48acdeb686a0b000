"""Adds and reads the options of commands that score models: which chains, and which candidates."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .._util.argparse_compat import ArgumentGroup
from ._options import add_device, add_force, path_or_name

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..data.windows import Windows
    from ..training.recipe import Recipe
    from ..training.run_folder import Run

_FEW = 0.01  # of the targets: some phrases are in every collection


def add_evaluation_options(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add all options of an evaluation.

    Args:
        parser: Of the command.
        whose: Whose settings are the defaults, such as "the run's"; help texts say it.
    """
    add_query_options(parser, whose)
    parser.add_argument(
        "--include-read",
        action="store_true",
        help="keep chunks among the candidates that the context's chain has had before, as the reference does",
    )
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="windows at once (default: 256)")
    add_device(parser)
    add_force(parser)


def add_query_options(parser: argparse.ArgumentParser | ArgumentGroup, whose: str) -> None:
    """Add the options that choose the queries and the candidates; `whose` as for `add_evaluation_options`."""
    parser.add_argument(
        "--data",
        type=path_or_name,
        metavar="PATH|sample",
        help=f"the chain store, or 'sample' (default: {whose} own)",
    )
    parser.add_argument("--split", choices=("val", "all"), default="val", help="which chains to score (default: val)")
    parser.add_argument(
        "--allow-leaks", action="store_true", help="also score a model that was trained on the chunks to predict"
    )
    parser.add_argument(
        "--pool",
        type=_pool,
        default="targets",
        metavar="targets|store|N",
        help="candidates: the targets (default), every chunk of the data, or a number of chunks",
    )
    run = f"(default: {whose}, else"
    parser.add_argument("--context-length", type=int, metavar="N", help=f"most vectors a context holds {run} 100)")
    parser.add_argument(
        "--stride",
        type=int,
        metavar="N",
        help=f"vectors between targets {run} half the context length, or less until there are 200 targets)",
    )
    parser.add_argument("--val-fraction", type=float, metavar="F", help=f"share held out, by chain {run} 0.1)")
    parser.add_argument("--seed", type=int, metavar="N", help=f"seed of split, pool and intervals {run} 42)")
    parser.add_argument("--bootstrap", type=int, default=1000, metavar="N", help="resamples of chains (default: 1000)")


def _pool(text: str) -> str | int:
    if text in ("targets", "store"):
        return text
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}; expected targets, store or a number")
    return int(text)


def query_recipe(args: argparse.Namespace, run: Run, where: str) -> Recipe:
    """Return the recipe that says what is scored: the run's own, with the options of the command line.

    Raises:
        ValueError: A flag does not fit, or there is neither a recipe nor --data.
    """
    from ..training.recipe import Recipe, read_setting

    flags = {
        "context_length": ("--context-length", args.context_length),
        "val_stride": ("--stride", args.stride),
        "val_fraction": ("--val-fraction", args.val_fraction),
        "seed": ("--seed", args.seed),
    }
    given = {name: read_setting(name, value, flag) for name, (flag, value) in flags.items() if value is not None}
    if args.data:
        given |= {"data": args.data, "validation_data": None, "data_digest": None}
    if run.recipe is not None:
        return Recipe.from_dict({**vars(run.recipe), **given})
    if not args.data:
        raise ValueError(f"{where}: {run.path} is no training run, so --data has to say which chains to score")
    known = {} if run.context_length is None else {"context_length": run.context_length}
    return Recipe.from_dict({**known, **given})


class QueryData(NamedTuple):
    """The data to score.

    Attributes:
        chains: The chains to score; the windows of a sequence file.
        others: Other chains, whose chunks only serve as candidates of larger pools.
        digest: `ChainStore.fingerprint` of the data before it was split.
    """

    chains: ChainStore | Windows
    others: ChainStore | None
    digest: str


def open_query_data(recipe: Recipe, split: str, where: str) -> QueryData:
    """Open the data of a recipe, and take the asked part of it.

    Raises:
        OSError: The data cannot be opened.
        ValueError: It is of another kind, or cannot be split.
    """
    from ..data.source import is_sequence_file, open_source
    from ..data.windows import GivenWindows
    from ..training.load_data import checked_digest, load_data

    if recipe.data != "sample" and not Path(recipe.data).exists():
        raise FileNotFoundError(f"{where}: no chain store at {recipe.data!r}; say with --data where it is")
    if split == "all":
        if is_sequence_file(recipe.data):
            windows = GivenWindows.of_sequences(recipe.data)
            return QueryData(windows, None, checked_digest(windows.store, recipe, where))
        store = open_source(recipe.data, f"{where}: data")
        return QueryData(store, None, checked_digest(store, recipe, where))
    data = load_data(recipe, where)
    if isinstance(data.validation, GivenWindows):
        return QueryData(data.validation, None, data.digest)
    return QueryData(data.validation.store, data.training.store, data.digest)


def check_leaks(
    args: argparse.Namespace,
    run: Run,
    recipe: Recipe,
    data: QueryData,
    where: str,
    windows: Windows | None = None,
    fair: str | None = None,
) -> list[str]:
    """Warn of every target that the model's training has seen, and return the warnings.

    Args:
        args: The options: which chains are scored, and whether leaks are allowed.
        run: The model.
        recipe: Which data is scored, and how it was split.
        data: The data that `open_query_data` opened for this recipe.
        where: What messages begin with, such as "evaluate".
        windows: The windows to score; those of the recipe unless given.
        fair: A text that says what to score instead. Without one, a run may be scored on its own validation data, even
            where windows overlap or its warm start has seen some of it: it has no other data.

    Raises:
        ValueError: The model was trained on what is to be predicted, and leaks are not allowed.
    """
    import warnings
    from dataclasses import replace

    from ..training.contamination import Questions, is_own_validation, seen_in_training

    recipe = replace(recipe, data_digest=data.digest)
    asked = Questions(windows or windows_to_score(data, recipe), recipe, args.split == "val")
    leaks = seen_in_training(run.recipe, asked)
    messages = [leak.description for leak in leaks]
    is_allowed = args.allow_leaks or (fair is None and is_own_validation(run.recipe, asked))
    if not is_allowed and any(leak.share is not None and leak.share > _FEW for leak in leaks):
        expected = fair or "chains that its training held out"
        raise ValueError(f"{where}: {'; '.join(messages)}; expected {expected}, or --allow-leaks")
    for message in messages:
        warnings.warn(f"{where}: {message}", stacklevel=2)
    return messages


def windows_to_score(data: QueryData, recipe: Recipe) -> Windows:
    """Lay out the windows to score as the recipe says; those of a sequence file stay as they are."""
    from ..data.windows import Windows, query_windows

    if isinstance(data.chains, Windows):
        return data.chains
    return query_windows(data.chains, recipe.context_length, recipe.val_stride, recipe.min_length)


def exclude_read(args: argparse.Namespace) -> bool | None:
    """Return the `exclude_read` of `evaluate`: None, its default, unless --include-read is given."""
    return False if args.include_read else None


def data_name(recipe: Recipe, split: str) -> str:
    """Return the name of the data in reports."""
    own = recipe.validation_data if split == "val" else None
    return str(own or recipe.data)

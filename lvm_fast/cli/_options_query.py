"""What commands that score models have in common: which chains, which candidates, said in the same flags."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ._options import add_device, add_force, source

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..data.windows import Windows
    from ..training.recipe import Recipe
    from ..training.runs import Run

_MANY = 0.01  # of the targets: some phrases stand in every collection


def add_arguments(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the flags.

    Args:
        whose: Whose settings are the defaults, such as "the run's".
    """
    add_query_arguments(parser, whose)
    parser.add_argument(
        "--include-read",
        action="store_true",
        help="rank chunks that the context's chain has said before among the candidates, as the reference does",
    )
    parser.add_argument("--batch-size", type=int, default=256, metavar="N", help="windows at once (default: 256)")
    add_device(parser)
    add_force(parser)


def add_query_arguments(parser: argparse.ArgumentParser | argparse._ArgumentGroup, whose: str) -> None:
    """Add the flags that say what is asked, and among which candidates; `whose` as for `add_arguments`."""
    parser.add_argument(
        "--data",
        type=source,
        metavar="PATH|sample",
        help=f"the chain store, or 'sample' for the bundled one (default: {whose} own)",
    )
    parser.add_argument("--split", choices=("val", "all"), default="val", help="which chains to score (default: val)")
    parser.add_argument(
        "--allow-leaks", action="store_true", help="also score a model that was trained on what is to be predicted"
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


def scoring_recipe(args: argparse.Namespace, run: Run, where: str) -> Recipe:
    """The recipe that says what is scored: the one the model was trained with; what is given on the command line wins.

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


class Scored(NamedTuple):
    """What is scored.

    Attributes:
        chains: The chains, or of a sequence file the windows.
        others: Chains that only lend their chunks to larger pools.
        digest: `ChainStore.fingerprint` of the data before it was split.
    """

    chains: ChainStore | Windows
    others: ChainStore | None
    digest: str


def scored_chains(recipe: Recipe, split: str, where: str) -> Scored:
    """Open what the recipe says, and take the part that is asked for.

    Raises:
        OSError: The data cannot be opened.
        ValueError: It is of another kind, or does not split.
    """
    from ..data.given_windows import GivenWindows
    from ..data.source import is_sequence_file, open_source
    from ..training.load_data import checked_digest, load_data

    if recipe.data != "sample" and not Path(recipe.data).exists():
        raise FileNotFoundError(f"{where}: no chain store at {recipe.data!r}; say with --data where it is")
    if split == "all":
        if is_sequence_file(recipe.data):
            windows = GivenWindows.of_sequences(recipe.data)
            return Scored(windows, None, checked_digest(windows.store, recipe, where))
        store = open_source(recipe.data, f"{where}: data")
        return Scored(store, None, checked_digest(store, recipe, where))
    data = load_data(recipe, where)
    if isinstance(data.validation, GivenWindows):
        return Scored(data.validation, None, data.digest)
    return Scored(data.validation.store, data.training.store, data.digest)


def check_leaks(
    args: argparse.Namespace,
    run: Run,
    recipe: Recipe,
    scored: Scored,
    called: str,
    windows: Windows | None = None,
    fair: str | None = None,
) -> list[str]:
    """What a reader has to know of what a model's training saw; a warning says it too.

    Args:
        args: Which chains are scored, and whether a model that has seen the answers may be.
        run: The model.
        recipe: Which data is scored, and how it was split.
        scored: What that gave.
        called: What messages begin with, such as "evaluate".
        windows: The questions; those of the recipe unless given.
        fair: What should be asked instead. Unless given, a run may be asked what it was validated on, even where its
            windows overlap or its warm start has seen some of it: there is nothing else of its own to ask.

    Raises:
        ValueError: It was trained on what is to be predicted, and that is not allowed.
    """
    import warnings
    from dataclasses import replace

    from ..training.contamination import Asked, is_own_validation, seen_in_training

    recipe = replace(recipe, data_digest=scored.digest)
    asked = Asked(windows or questions(scored, recipe), recipe, args.split == "val")
    found = seen_in_training(run.recipe, asked)
    words = [seen.words for seen in found]
    is_allowed = args.allow_leaks or (fair is None and is_own_validation(run.recipe, asked))
    if not is_allowed and any(seen.share is not None and seen.share > _MANY for seen in found):
        expected = fair or "chains that its training held out"
        raise ValueError(f"{called}: {'; '.join(words)}; expected {expected}, or --allow-leaks")
    for said in words:
        warnings.warn(f"{called}: {said}", stacklevel=2)
    return words


def questions(scored: Scored, recipe: Recipe) -> Windows:
    """The windows to score, laid out as the recipe says; of a sequence file, as they are."""
    from ..data.windows import Windows
    from ..evaluation.questions import question_windows

    if isinstance(scored.chains, Windows):
        return scored.chains
    return question_windows(scored.chains, recipe.context_length, recipe.val_stride, recipe.min_length)


def reading(args: argparse.Namespace) -> bool | None:
    """What `evaluate` takes as `exclude_read`: where chains are known, what was read is left out unless told."""
    return False if args.include_read else None


def name_of_data(recipe: Recipe, split: str) -> str:
    """What reports call the data."""
    own = recipe.validation_data if split == "val" else None
    return str(own or recipe.data)

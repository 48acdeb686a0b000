"""`lvm-fast export`: a trained model -> a Core ML package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _options_query
from ._options import source

if TYPE_CHECKING:
    from ..training.runs import Run

HELP = "write a trained model as a Core ML package (.mlpackage)"

_OF_PACKAGE = ("precision", "compress", "flexible", "bank", "target", "author", "overwrite")  # options of one package
_OF_BANK = ("bank_dtype", "topk")
_OF_COMPARE = ("data", "split", "pool", "context_length", "stride", "val_fraction", "seed", "bootstrap", "allow_leaks")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a checkpoint (.pt), a training run, or the folder of a saved model or router"
    )
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument("--output", type=Path, help="the package to write (.mlpackage)")
    asked.add_argument(
        "--compare",
        action="store_true",
        help="instead of a package, print size, parity and Hit@5 of every precision and compression, in one table",
    )
    parser.add_argument(
        "--contexts",
        nargs="*",
        metavar="N",
        help="context lengths, a predict_N function each (default: those of 100 500 1000 that fit the model and the "
        "target; of a router, its limits)",
    )
    parser.add_argument(
        "--streaming",
        action=argparse.BooleanOptionalAction,
        help="add or leave out the step function (default: add it where the model and the target have it)",
    )
    parser.add_argument("--precision", default="float16", help="float16 (default) or float32")
    parser.add_argument(
        "--compress",
        metavar="HOW",
        help="store the weight matrices as int8, palette6 or palette4 (default: plain)",
    )
    parser.add_argument(
        "--flexible", type=int, metavar="N", help="add a predict function for any number of vectors from 1 to N"
    )
    parser.add_argument(
        "--bank", type=source, metavar="DATA", help="add a topk function over this chain store's vectors, or 'sample'"
    )
    parser.add_argument("--bank-dtype", default="float16", help="how to store them: float16 (default) or int8")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="how many of them to find (default: 10)")
    parser.add_argument(
        "--target", default="ios18", help="ios18 (default), ios17 or ios16; or macos15, macos14, macos13"
    )
    parser.add_argument("--author", help="for the metadata (default: The lvm_fast developers)")
    parser.add_argument("--overwrite", action="store_true", help="replace the package, and the file beside it")
    _options_query.add_query_arguments(parser.add_argument_group("what --compare asks"), "the run's")


def run(args: argparse.Namespace) -> int:
    _check_used(args)
    return _compare(args) if args.compare else _export(args)


def _export(args: argparse.Namespace) -> int:
    from .._util.atomic_files import size_of
    from .._util.text import unicode_text
    from ..data.source import files_of, open_source
    from ..export.coreml import AUTHOR, export_coreml
    from ..export.coremltools_compat import ct
    from ..export.options import check_path
    from ..training.runs import open_run

    check_path(args.output, args.overwrite, [args.model, *files_of(args.bank)])
    opened = open_run(args.model, "export")
    functions, left_out = _functions(args, opened)
    package = export_coreml(
        opened.model,
        args.output,
        **functions,
        precision=args.precision,
        compress=args.compress,
        target=args.target,
        overwrite=args.overwrite,
        author=args.author or AUTHOR,
        flexible=args.flexible,
        bank=None if args.bank is None else open_source(args.bank, "export: bank"),
        bank_dtype=args.bank_dtype,
        topk=args.topk,
    )
    names = [function.name for function in ct.utils.load_spec(str(package)).description.functions] or ["main"]
    numbers = f"{args.compress} in {args.precision}" if args.compress else args.precision
    print(f"{unicode_text(package)}: {', '.join(names)}; {numbers}, {size_of(package) / 1e6:.1f} MB")
    print(*(f"left out {note}" for note in left_out), sep="\n", end="\n" if left_out else "")
    return 0


def _check_used(args: argparse.Namespace) -> None:
    """Raise ValueError for the first option that was given, but would not be used."""
    unused = dict.fromkeys(_OF_COMPARE, "with --compare only")
    if args.compare:
        unused = dict.fromkeys((*_OF_PACKAGE, *_OF_BANK), "without --compare only, which packs every precision")
    elif args.bank is None:
        unused |= dict.fromkeys(_OF_BANK, "with --bank only")
    for name, when in unused.items():
        if getattr(args, name) != args.parser.get_default(name):
            raise ValueError(f"export: --{name.replace('_', '-')} is used {when}")


def _functions(args: argparse.Namespace, opened: Run) -> tuple[dict[str, Any], list[str]]:
    """The contexts and the streaming that were asked for, else what fits; and what does not fit, and why."""
    from ..export.defaults import fitting_contexts, fitting_streaming

    streaming, no_step = args.streaming, None
    if streaming is None:
        streaming, no_step = fitting_streaming(opened.model, args.target)
    if args.contexts is not None:
        return {"contexts": _numbers(args.contexts), "streaming": streaming}, [no_step] if no_step else []
    taken = streaming or args.flexible is not None or args.bank is not None
    trained = opened.recipe.context_length if opened.recipe else None
    contexts, too_long = fitting_contexts(opened.model, args.target, taken, trained)
    return {"contexts": contexts, "streaming": streaming}, [note for note in (too_long, no_step) if note]


def _numbers(words: list[str]) -> list[int]:
    for word in words:
        if not word.isdecimal():
            raise ValueError(f"export: --contexts has {word!r}; expected whole numbers, such as 100 500")
    return [int(word) for word in words]


def _compare(args: argparse.Namespace) -> int:
    import sys

    from .._util.terminal import is_terminal
    from ..export.compare import compare_precisions
    from ..inference.router import Router
    from ..training.runs import open_run

    opened = open_run(args.model, "export")
    if isinstance(opened.model, Router):
        raise ValueError(f"export: {args.model} is a router; --compare takes one model, such as an arm of it")
    functions, left_out = _functions(args, opened)
    recipe = _options_query.scoring_recipe(args, opened, "export")
    scored = _options_query.scored_chains(recipe, args.split, "export")
    _options_query.check_leaks(args, opened, recipe, scored, "export")
    comparison = compare_precisions(
        opened.model,
        scored.chains,
        recipe.context_length,
        **functions,
        pool=args.pool,
        stride=recipe.val_stride,
        seed=recipe.seed,
        bootstrap=args.bootstrap,
        min_length=recipe.min_length,
        distractors=scored.others,
        data_name=_options_query.name_of_data(recipe, args.split),
        progress=is_terminal(sys.stderr),
    )
    print(comparison.to_text())
    print(*(f"left out {note}" for note in left_out), sep="\n", end="\n" if left_out else "")
    return 0 if all(row.verified for row in comparison.rows) else 1

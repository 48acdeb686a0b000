"""`lvm-fast export`: a trained model -> a Core ML package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from . import scoring

HELP = "write a trained model as a Core ML package (.mlpackage)"


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
        type=int,
        nargs="*",
        metavar="N",
        help="context lengths, a predict_N function each (default: 100 500 1000; of a router, its limits)",
    )
    parser.add_argument("--no-streaming", action="store_true", help="leave out the step function")
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
        "--bank", metavar="DATA", help="add a topk function over this chain store's vectors, or 'sample'"
    )
    parser.add_argument("--bank-dtype", default="float16", help="how to store them: float16 (default) or int8")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="how many of them to find (default: 10)")
    parser.add_argument(
        "--target", default="ios18", help="ios18 (default), ios17 or ios16; or macos15, macos14, macos13"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the package if it exists")
    scoring.add_query_arguments(parser.add_argument_group("what --compare asks"), "the run's")


def run(args: argparse.Namespace) -> int:
    from .warn import plain_warnings

    with plain_warnings():
        return _compare(args) if args.compare else _export(args)


def _export(args: argparse.Namespace) -> int:
    from ..data.source import open_source
    from ..export.coreml import export_coreml
    from ..export.toolkit import ct
    from ..files import size_of
    from ..inference.router_folder import load_predictor

    package = export_coreml(
        load_predictor(args.model),
        args.output,
        **_contexts(args),
        streaming=not args.no_streaming,
        precision=args.precision,
        compress=args.compress,
        target=args.target,
        overwrite=args.overwrite,
        flexible=args.flexible,
        bank=None if args.bank is None else open_source(args.bank, "export: bank"),
        bank_dtype=args.bank_dtype,
        topk=args.topk,
    )
    functions = [function.name for function in ct.utils.load_spec(str(package)).description.functions] or ["main"]
    numbers = f"{args.compress} in {args.precision}" if args.compress else args.precision
    print(f"{package}: {', '.join(functions)}; {numbers}, {size_of(package) / 1e6:.1f} MB")
    return 0


def _contexts(args: argparse.Namespace) -> dict[str, Any]:
    """The contexts that were given, if any."""
    return {} if args.contexts is None else {"contexts": args.contexts}


def _compare(args: argparse.Namespace) -> int:
    import sys

    from ..export.compare import compare_precisions
    from ..inference.router import Router
    from ..training.runs import open_run

    opened = open_run(args.model, "export")
    if isinstance(opened.model, Router):
        raise ValueError(f"export: {args.model} is a router; --compare takes one model, such as an arm of it")
    recipe = scoring.scoring_recipe(args, opened, "export")
    scored, others = scoring.scored_chains(recipe, args.split, "export")
    comparison = compare_precisions(
        opened.model,
        scored,
        recipe.context_length,
        **_contexts(args),
        streaming=not args.no_streaming,
        pool=args.pool,
        stride=recipe.val_stride,
        seed=recipe.seed,
        bootstrap=args.bootstrap,
        min_length=recipe.min_length,
        distractors=others,
        data_name=scoring.name_of_data(recipe, args.split),
        progress=sys.stderr.isatty(),
    )
    print(comparison.to_text())
    return 0 if all(row.verified for row in comparison.rows) else 1

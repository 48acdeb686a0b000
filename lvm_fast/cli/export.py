"""`lvm-fast export`: writes a trained model for Core ML or Core AI, or compares all its precisions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import _options_query
from ._json_output import add_json, print_json, words_aside
from ._options import check_unused, path_or_name

if TYPE_CHECKING:
    from ..training.run_folder import Run

HELP = "write a trained model as a Core ML package (.mlpackage) or a Core AI asset (.aimodel)"

_PACKAGE_OPTIONS = ("precision", "compress", "flexible", "bank", "target", "author", "overwrite")
_BANK_OPTIONS = ("bank_dtype", "topk")
_COMPARE_OPTIONS = (
    "data",
    "split",
    "pool",
    "context_length",
    "stride",
    "val_fraction",
    "seed",
    "bootstrap",
    "allow_leaks",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a checkpoint (.pt), a training run, or the folder of a saved model or router"
    )
    result = parser.add_mutually_exclusive_group(required=True)
    result.add_argument("--output", type=Path, help="the package to write (.mlpackage; .aimodel for Core AI)")
    result.add_argument(
        "--compare",
        action="store_true",
        help="instead of a package, print size, parity and Hit@5 of every precision and compression, in one table",
    )
    parser.add_argument(
        "--format",
        choices=("coreml", "coreai"),
        default="coreml",
        help="coreml (default), for iOS 18 and macOS 15, or coreai, for iOS 27 and macOS 27",
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
        "--bank",
        type=path_or_name,
        metavar="DATA",
        help="add a topk function over the vectors of this store, or 'sample'",
    )
    parser.add_argument("--bank-dtype", default="float16", help="how to store them: float16 (default) or int8")
    parser.add_argument("--topk", type=int, default=10, metavar="K", help="how many of them to find (default: 10)")
    parser.add_argument(
        "--target", default="ios18", help="ios18 (default), ios17 or ios16; or macos15, macos14, macos13"
    )
    parser.add_argument("--author", help="for the metadata (default: The lvm_fast developers)")
    parser.add_argument("--overwrite", action="store_true", help="replace the package, and the file beside it")
    add_json(parser)
    _options_query.add_query_options(parser.add_argument_group("queries of --compare"), "the run's")


def run(args: argparse.Namespace) -> int:
    _check_options(args)
    return _compare(args) if args.compare else _export(args)


def _export(args: argparse.Namespace) -> int:
    from .._util.atomic_files import size_of
    from .._util.text import unicode_text
    from ..data.source import files_of, open_source
    from ..export.coreml import AUTHOR
    from ..export.options import check_path
    from ..training.run_folder import open_run

    check_path(args.output, args.overwrite, [args.model, *files_of(args.bank)], **_naming(args.format))
    opened = open_run(args.model, "export")
    functions, left_out = _functions(args, opened)
    options = {
        **functions,
        "precision": args.precision,
        "compress": args.compress,
        "overwrite": args.overwrite,
        "author": args.author or AUTHOR,
        "flexible": args.flexible,
        "bank": None if args.bank is None else open_source(args.bank, "export: bank"),
        "bank_dtype": args.bank_dtype,
        "topk": args.topk,
    }
    write = _write_coreai if args.format == "coreai" else _write_coreml
    with words_aside(args.json):
        package, names = write(args, opened, options)
    if args.json:
        written = {"output": unicode_text(package), "functions": names, "bytes": size_of(package)}
        print_json({**written, "precision": args.precision, "compress": args.compress, "left_out": left_out})
        return 0
    numbers = f"{args.compress} in {args.precision}" if args.compress else args.precision
    print(f"{unicode_text(package)}: {', '.join(names)}; {numbers}, {size_of(package) / 1e6:.1f} MB")
    print(*(f"left out {note}" for note in left_out), sep="\n", end="\n" if left_out else "")
    return 0


def _naming(format: str) -> dict[str, str]:
    """Return what `check_path` has to know of a format, where it is not Core ML."""
    if format == "coreml":
        return {}
    from ..export.coreai import SUFFIX

    return {"suffix": SUFFIX, "where": "export_coreai"}


def _write_coreml(args: argparse.Namespace, opened: Run, options: dict[str, Any]) -> tuple[Path, list[str]]:
    """Write a package; return its path and the names of its functions."""
    from ..export.coreml import export_coreml
    from ..export.coremltools_compat import ct

    package = export_coreml(opened.model, args.output, target=args.target, **options)
    functions = ct.utils.load_spec(str(package)).description.functions
    return package, [function.name for function in functions] or ["main"]


def _write_coreai(args: argparse.Namespace, opened: Run, options: dict[str, Any]) -> tuple[Path, list[str]]:
    """Write an asset; return its path and the names of its functions."""
    from ..export.coreai.asset import read_metadata
    from ..export.coreai.export import export_coreai
    from ..export.metadata import parse_metadata

    asset = export_coreai(opened.model, args.output, **options)
    return asset, list(parse_metadata(read_metadata(asset), asset, "export").functions)


def _check_options(args: argparse.Namespace) -> None:
    """Raise ValueError for the first option that was given, but would not be used."""
    if args.format == "coreai":
        check_unused(args, ("target",), "export", "with --format coreml only")
    if args.compare:
        when = "without --compare only, which packs every precision"
        check_unused(args, (*_PACKAGE_OPTIONS, *_BANK_OPTIONS), "export", when)
        return
    check_unused(args, _COMPARE_OPTIONS, "export", "with --compare only")
    if args.bank is None:
        check_unused(args, _BANK_OPTIONS, "export", "with --bank only")


def _functions(args: argparse.Namespace, opened: Run) -> tuple[dict[str, Any], list[str]]:
    """Return the contexts and streaming that were asked for, else those that fit, and notes on what does not."""
    from ..export.options import fitting_contexts

    streaming, no_step = args.streaming, None
    if streaming is None:
        streaming, no_step = _fitting_streaming(args, opened)
    if args.contexts is not None:
        return {"contexts": _numbers(args.contexts), "streaming": streaming}, [no_step] if no_step else []
    others_asked = streaming or args.flexible is not None or args.bank is not None
    trained = opened.recipe.context_length if opened.recipe else None
    contexts, too_long = fitting_contexts(opened.model, args.target, others_asked, trained)
    return {"contexts": contexts, "streaming": streaming}, [note for note in (too_long, no_step) if note]


def _fitting_streaming(args: argparse.Namespace, opened: Run) -> tuple[bool, str | None]:
    """Return whether model, format and target can have a ``step``; if not, the second value is a note that says why."""
    if args.format == "coreai":
        from ..export.coreai.registry import fitting_streaming

        return fitting_streaming(opened.model)
    from ..export.options import fitting_streaming as fitting_coreml_streaming

    return fitting_coreml_streaming(opened.model, args.target)


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
    from ..training.run_folder import open_run

    opened = open_run(args.model, "export")
    if isinstance(opened.model, Router):
        raise ValueError(f"export: {args.model} is a router; --compare takes one model, such as an arm of it")
    functions, left_out = _functions(args, opened)
    recipe = _options_query.query_recipe(args, opened, "export")
    data = _options_query.open_query_data(recipe, args.split, "export")
    _options_query.check_leaks(args, opened, recipe, data, "export")
    comparison = compare_precisions(
        opened.model,
        data.chains,
        recipe.context_length,
        **functions,
        format=args.format,
        pool=args.pool,
        stride=recipe.val_stride,
        seed=recipe.seed,
        bootstrap=args.bootstrap,
        min_length=recipe.min_length,
        distractors=data.others,
        data_name=_options_query.data_name(recipe, args.split),
        progress=is_terminal(sys.stderr),
    )
    with words_aside(args.json):
        print(comparison.to_text())
        print(*(f"left out {note}" for note in left_out), sep="\n", end="\n" if left_out else "")
    if args.json:
        print_json({**comparison.to_dict(), "left_out": left_out})
    return 0 if all(row.verified for row in comparison.rows) else 1

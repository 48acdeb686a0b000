"""`lvm-fast export`: a trained model -> a Core ML package."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write a trained model as a Core ML package (.mlpackage)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, help="a checkpoint (.pt), a training run or a saved model's folder")
    parser.add_argument("--output", type=Path, required=True, help="the package to write (.mlpackage)")
    parser.add_argument(
        "--contexts",
        type=int,
        nargs="*",
        default=[100, 500, 1000],
        metavar="N",
        help="context lengths, a predict_N function each (default: 100 500 1000)",
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
        "--target", default="ios18", help="ios18 (default), ios17 or ios16; or macos15, macos14, macos13"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the package if it exists")


def run(args: argparse.Namespace) -> int:
    from ..export.coreml import export_coreml
    from ..files import size_of
    from ..models.pretrained import load_model
    from .warn import plain_warnings

    model = load_model(args.model)
    with plain_warnings():
        package = export_coreml(
            model,
            args.output,
            contexts=args.contexts,
            streaming=not args.no_streaming,
            precision=args.precision,
            compress=args.compress,
            target=args.target,
            overwrite=args.overwrite,
            flexible=args.flexible,
        )
    contents = [f"context {length}" for length in args.contexts]
    contents += [f"contexts up to {args.flexible}"] if args.flexible else []
    contents += ["streaming"] * (not args.no_streaming)
    numbers = f"{args.compress} in {args.precision}" if args.compress else args.precision
    print(f"{package}: {', '.join(contents)}; {numbers}, {size_of(package) / 1e6:.1f} MB")
    return 0

"""`lvm-fast verify`: does a Core ML package compute what its model does?"""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "prove a Core ML package equal to the model it was exported from (exit code 1 if it is not)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, help="the package (.mlpackage)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        required=True,
        help="the model: a checkpoint, a training run or a saved model's folder",
    )


def run(args: argparse.Namespace) -> int:
    from ..export.verify import verify_coreml
    from ..models.pretrained import load_model

    verification = verify_coreml(args.package, load_model(args.checkpoint))
    print(verification.to_text())
    return 0 if verification.passed else 1

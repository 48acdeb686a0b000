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
        help="the model: a checkpoint, a training run, or the folder of a saved model or router",
    )
    parser.add_argument("--data", help="chain store whose vectors make the contexts (default: the bundled sample)")
    parser.add_argument("--bank", help="the chain store that the package's bank was made of, to compare its rows with")


def run(args: argparse.Namespace) -> int:
    import numpy as np

    from ..data.source import open_source
    from ..export.verify import verify_coreml
    from ..models.pretrained import load_model

    vectors = None if args.data is None else np.asarray(open_source(args.data, "verify: data").vectors, np.float32)
    bank = None if args.bank is None else open_source(args.bank, "verify: bank")
    verification = verify_coreml(args.package, load_model(args.checkpoint), vectors, bank=bank)
    print(verification.to_text())
    return 0 if verification.passed else 1

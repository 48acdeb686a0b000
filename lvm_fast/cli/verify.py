"""`lvm-fast verify`: does a Core ML package compute what its model does?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ._options import source

if TYPE_CHECKING:
    from ..training.runs import Run

HELP = "prove a Core ML package equal to the model it was exported from (exit code 1 if it is not)"

_MOST_ROWS = 20_000  # to cut contexts from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, help="the package (.mlpackage)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="the model: a checkpoint, a training run, or the folder of a saved model or router (default: that of the "
        "folder which the package is in)",
    )
    parser.add_argument(
        "--data",
        type=source,
        metavar="PATH|sample",
        help="the chain store whose vectors make the contexts (default: the run's own, else the bundled sample)",
    )
    parser.add_argument(
        "--bank", type=source, help="the chain store that the package's bank was made of, to compare its rows with"
    )


def run(args: argparse.Namespace) -> int:
    from ..data.source import open_source
    from ..export.verify import verify_coreml
    from ..training.runs import open_run

    opened = open_run(args.checkpoint or _folder_of(args.package), "verify")
    data = args.data or _data_of(opened)
    vectors = None if data is None else open_source(data, "verify: data").vectors[:_MOST_ROWS]
    bank = None if args.bank is None else open_source(args.bank, "verify: bank")
    verification = verify_coreml(args.package, opened.model, vectors, bank=bank)
    print(verification.to_text())
    return 0 if verification.passed else 1


def _folder_of(package: Path) -> Path:
    """The folder that a package lies in, where it holds a model. Raises ValueError where it does not."""
    from ..models.pretrained import BEST_CHECKPOINT
    from ..models.saving import CONFIG, ROUTER

    folder = package.absolute().parent
    if not any((folder / name).exists() for name in (BEST_CHECKPOINT, CONFIG, ROUTER)):
        raise ValueError(f"verify: there is no model beside {package}; say with --checkpoint where it is")
    return folder


def _data_of(run: Run) -> str | None:
    """The chain store that a run was trained on, where it is still there."""
    from ..data.source import is_sequence_file

    data = None if run.recipe is None else str(run.recipe.data)
    if data is None or data == "sample" or is_sequence_file(data) or not Path(data).exists():
        return None
    return data

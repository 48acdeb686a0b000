"""`lvm-fast verify`: compares a Core ML package or a Core AI asset with its model, or measures one on this Mac."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._json_output import print_json, words_aside
from ._options import check_unused, path_or_name

if TYPE_CHECKING:
    from ..export.exportable import Exportable
    from ..training.run_folder import Run

HELP = (
    "prove a Core ML package or a Core AI asset equal to the model it was exported from (exit code 1 if it is not, "
    "3 if an asset cannot be run here)"
)

_MODEL_OPTIONS = ("checkpoint", "data", "bank")
_DEVICE_OPTIONS = ("units", "repeat")
_STDOUT = Path("-")  # where --json goes without a file
UNVERIFIED = 3  # the exit code where Apple's runtime is missing: neither equal nor unequal
_ASSET_SUFFIX = ".aimodel"
_MOST_ROWS = 20_000  # to cut contexts from


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("package", type=Path, help="the package (.mlpackage) or asset (.aimodel)")
    parser.add_argument(
        "--checkpoint",
        type=Path,
        help="the model: a checkpoint, a training run, or the folder of a saved model or router (default: the model "
        "in the package's folder)",
    )
    parser.add_argument(
        "--data",
        type=path_or_name,
        metavar="PATH|sample",
        help="the chain store whose vectors make the contexts (default: the run's own, else the sample)",
    )
    parser.add_argument(
        "--bank",
        type=path_or_name,
        help="the chain store that the package's bank was made from, to compare its rows",
    )
    device = parser.add_argument_group("on a Mac")
    device.add_argument(
        "--device",
        action="store_true",
        help="run the package with Core ML: compare its outputs with NAME.expected.safetensors beside it, time every "
        "function, and show which processors Core ML plans to use; needs no model",
    )
    device.add_argument(
        "--units",
        nargs="+",
        metavar="UNITS",
        help="compute units to run on: CPU_ONLY, CPU_AND_GPU, CPU_AND_NE, ALL (default: all four)",
    )
    device.add_argument("--repeat", type=int, default=100, metavar="N", help="timed calls (default: %(default)s)")
    parser.add_argument(
        "--json",
        type=Path,
        nargs="?",
        const=_STDOUT,
        metavar="FILE",
        help="print the figures as JSON, and all else on standard error; or also write them to this file",
    )


def run(args: argparse.Namespace) -> int:
    if args.device:
        check_unused(args, _MODEL_OPTIONS, "verify", "without --device only, which needs no model")
        if args.package.suffix == _ASSET_SUFFIX:
            raise ValueError(f"verify: {args.package} is a Core AI asset; --device runs Core ML packages only")
        return _verify_on_device(args)
    check_unused(args, _DEVICE_OPTIONS, "verify", "with --device only")
    return _verify(args)


def _verify(args: argparse.Namespace) -> int:
    from ..data.source import open_source
    from ..training.run_folder import open_run

    _check_json(args, [args.package])
    opened = open_run(args.checkpoint or _model_beside(args.package), "verify")
    data = args.data or _training_data(opened)
    vectors = None if data is None else open_source(data, "verify: data").vectors[:_MOST_ROWS]
    bank = None if args.bank is None else open_source(args.bank, "verify: bank")
    if args.package.suffix == _ASSET_SUFFIX:
        return _verify_asset(args, opened.model, vectors, bank)
    from ..export.verify import verify_coreml

    return _told(args, verify_coreml(args.package, opened.model, vectors, bank=bank))


def _verify_asset(args: argparse.Namespace, model: Exportable, vectors: Any, bank: Any) -> int:
    from ..export.coreai.verify import verify_coreai

    try:
        verification = verify_coreai(args.package, model, vectors, bank=bank)
    except ImportError as error:
        print(f"lvm-fast: {error}", file=sys.stderr)
        return UNVERIFIED
    return _told(args, verification)


def _verify_on_device(args: argparse.Namespace) -> int:
    from ..export.device import UNITS, verify_on_device
    from ..export.options import expectations_path

    _check_json(args, [args.package, expectations_path(args.package)])
    return _told(args, verify_on_device(args.package, args.units or UNITS, args.repeat))


def _check_json(args: argparse.Namespace, inputs: list[Path]) -> None:
    """Refuse a file of ``--json`` that cannot be written, before the work."""
    from .._util.atomic_files import check_output

    if args.json is not None and args.json != _STDOUT:
        check_output(args.json, "verify: --json", inputs, overwrite=True)


def _told(args: argparse.Namespace, verification: Any) -> int:
    """Print a verification, and give its figures as ``--json`` says; return the exit code."""
    from .._util.atomic_files import atomic_write_text

    with words_aside(args.json == _STDOUT):
        print(verification.to_text())
    if args.json == _STDOUT:
        print_json(verification.to_dict())
    elif args.json is not None:
        atomic_write_text(args.json, json.dumps(verification.to_dict(), indent=2) + "\n")
    return 0 if verification.passed else 1


def _model_beside(package: Path) -> Path:
    """Return the folder of a package, where it holds a model. Raises ValueError where it does not."""
    from ..models.pretrained import BEST_CHECKPOINT
    from ..models.saving import CONFIG, ROUTER

    folder = package.absolute().parent
    if not any((folder / name).exists() for name in (BEST_CHECKPOINT, CONFIG, ROUTER)):
        raise ValueError(f"verify: there is no model beside {package}; say with --checkpoint where it is")
    return folder


def _training_data(run: Run) -> str | None:
    """Return the chain store that a run was trained on, where it is still there."""
    from ..data.source import is_sequence_file

    data = None if run.recipe is None else str(run.recipe.data)
    if data is None or data == "sample" or is_sequence_file(data) or not Path(data).exists():
        return None
    return data

"""`lvm-fast demo`: trains, scores, exports and verifies on the sample, in a few minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.process import prepare_for_training
from ._json_output import add_json, print_json, words_aside
from ._options import add_device

if TYPE_CHECKING:
    from ..evaluation.report import Report
    from ..export.verification_result import Verification
    from ..training.recipe import Recipe

QUESTIONS = 2000  # that the page keeps
HELP = "train, score, export and verify the champion on the sample, beside memory_gru, in minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument(
        "--epochs", type=int, default=6, help="the champion's passes over the sample (default: %(default)s)"
    )
    add_device(parser)
    parser.add_argument("--resume", action="store_true", help="continue the demo in --output-dir, or export it again")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    prepare_for_training()
    asked = recipe(args.output_dir, args.epochs, args.device, args.resume)
    from ..export.options import CONTEXTS

    with words_aside(args.json):
        report, verification = walk(asked, CONTEXTS, reference(asked))
    if args.json:
        print_json({"report": report.to_dict(), "verification": verification.to_dict()})
    return 0 if verification.passed else 1


def recipe(output_dir: Path, epochs: int, device: str, resume: bool = False) -> Recipe:
    """Return the champion's recipe, shortened to a few minutes on two cores."""
    from ..training.recipe import Recipe

    own = {"data": "sample", "val_fraction": 0.2, "val_stride": 8, "context_length": 100}
    return Recipe.named("champion", **own, epochs=epochs, device=device, output_dir=str(output_dir), resume=resume)


def reference(asked: Recipe) -> Recipe:
    """Return a recipe for the reference's memory_gru on the same data, in a folder of its own.

    Contexts are short, so that there are hundreds of steps. The contrastive part of the loss weighs most: without it
    every prediction moves towards the mean of all chunks.
    """
    from ..training.recipe import Recipe

    folder = Path(str(asked.output_dir), "memory_gru")
    return Recipe(
        data=asked.data,
        context_length=32,
        stride=5,
        val_fraction=asked.val_fraction,
        val_stride=asked.val_stride,
        seed=asked.seed,
        batch_size=32,
        accumulation_steps=1,
        lr=3e-4,
        precision="bfloat16",
        warmup_epochs=0.2,
        alpha_infonce=10.0,
        temperature=0.03,
        epochs=max(1, asked.epochs // 3),
        device=asked.device,
        output_dir=str(folder),
        resume=asked.resume and folder.exists(),
    )


def walk(recipe: Recipe, contexts: tuple[int, ...], beside: Recipe) -> tuple[Report, Verification]:
    """Train as the recipes say, score the best weights of the first beside the second, export and verify the first.

    Returns:
        The scores of the first, and whether its Core ML package computes what it does.
    """
    import time

    from ..evaluation.evaluate import evaluate
    from ..export.coreml import export_coreml  # before training: a missing extra should not cost one
    from ..export.coremltools_compat import ct
    from ..export.package import SUFFIX
    from ..export.verify import verify_coreml
    from ..training.fit import train

    started = time.monotonic()
    result, other = train(recipe), train(beside)
    report = evaluate(
        result.model,
        result.validation,
        context_length=recipe.context_length,
        stride=recipe.val_stride,
        seed=recipe.seed,
        rivals={beside.model_type: other.model},
        training=result.training,
        data_name="the bundled sample",
        questions=QUESTIONS,
    )
    print(f"\n{report.summary()}\n", flush=True)  # before the save, which may fail
    written = report.save(result.output_dir, result.history)
    written.append(report.save_html(result.output_dir / "report.html", result.history))
    path = result.output_dir / f"{recipe.model_type}{SUFFIX}"
    package = export_coreml(result.model, path, contexts, overwrite=True)
    verification = verify_coreml(package, result.model, contexts=1)
    print(f"{result.steps} optimiser steps; everything took {time.monotonic() - started:.0f} s")
    print(f"Checkpoint: {result.checkpoint}")
    print(f"Report: {', '.join(str(path) for path in written)}")
    print(f"Core ML: {package} (coremltools {ct.__version__}); each function against the model:")
    print(verification.to_text())
    print(f"\n{report.three_predictions()}")
    return report, verification

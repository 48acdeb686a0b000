"""`lvm-fast demo`: the whole way on the bundled sample, in a few minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .._util.process import prepare_for_training
from ._options import add_device

if TYPE_CHECKING:
    from ..training.recipe import Recipe

HELP = "train, score and export the champion on the bundled sample, beside memory_gru: the whole way in minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument(
        "--epochs", type=int, default=6, help="the champion's passes over the sample (default: %(default)s)"
    )
    add_device(parser)
    parser.add_argument("--resume", action="store_true", help="continue the demo in --output-dir, or export it again")


def run(args: argparse.Namespace) -> int:
    prepare_for_training()
    asked = recipe(args.output_dir, args.epochs, args.device, args.resume)
    from ..export.defaults import CONTEXTS

    return 0 if walk(asked, CONTEXTS, reference(asked)) else 1


def recipe(output_dir: Path, epochs: int, device: str, resume: bool = False) -> Recipe:
    """The champion's recipe for a few minutes on two cores."""
    from ..training.recipe import Recipe

    own = {"data": "sample", "val_fraction": 0.2, "val_stride": 8, "context_length": 100}
    return Recipe.named("champion", **own, epochs=epochs, device=device, output_dir=str(output_dir), resume=resume)


def reference(asked: Recipe) -> Recipe:
    """A recipe for the reference's memory_gru beside it: the same data, in a folder of its own.

    Contexts are short, so that there are hundreds of steps. The loss counts being found far more than being near: being
    near alone draws every prediction towards the mean of all chunks.
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


def walk(recipe: Recipe, contexts: tuple[int, ...], beside: Recipe) -> bool:
    """Train as the recipes say, score the best weights of the first beside the second, export and verify the first.

    Returns:
        Whether the Core ML package computes what the model does.
    """
    import time

    from ..evaluation.evaluate import evaluate
    from ..evaluation.report_markdown import summary
    from ..export.coreml import export_coreml  # first of all: a missing extra should not cost a training
    from ..export.coremltools_compat import ct
    from ..export.options import SUFFIX
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
    )
    print(f"\n{summary(report)}\n", flush=True)  # before anything is saved
    written = report.save(result.output_dir, result.history)
    place = result.output_dir / f"{recipe.model_type}{SUFFIX}"
    package = export_coreml(result.model, place, contexts, overwrite=True)
    verification = verify_coreml(package, result.model, contexts=1)
    print(f"{result.steps} optimiser steps; everything took {time.monotonic() - started:.0f} s")
    print(f"Checkpoint: {result.checkpoint}")
    print(f"Report: {', '.join(str(path) for path in written)}")
    print(f"Core ML: {package} (coremltools {ct.__version__}); each function against the model:")
    print(verification.to_text())
    return verification.passed

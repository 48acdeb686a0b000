"""`lvm-fast demo`: the whole way on the bundled sample, in a few minutes on two cores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..process import prepare_for_training
from .flags import add_device

if TYPE_CHECKING:
    from ..training.recipe import Recipe

HELP = "train, score and export memory_gru on the bundled sample: the whole way in minutes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output-dir", type=Path, default=Path("demo"), help="where everything goes (default: demo)")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the sample (default: %(default)s)")
    add_device(parser)
    parser.add_argument("--resume", action="store_true", help="continue the demo in --output-dir, or export it again")


def run(args: argparse.Namespace) -> int:
    prepare_for_training()
    asked = recipe(args.output_dir, args.epochs, args.device, args.resume)
    from ..export.defaults import CONTEXTS

    return 0 if walk(asked, CONTEXTS) else 1


def recipe(output_dir: Path, epochs: int, device: str, resume: bool = False) -> Recipe:
    """A recipe for a few minutes on two cores.

    Contexts are short, so that there are hundreds of steps. The loss counts being found far more than being near: being
    near alone draws every prediction towards the mean of all chunks.
    """
    from ..training.recipe import Recipe

    return Recipe(
        data="sample",
        context_length=32,
        stride=5,
        val_fraction=0.2,
        val_stride=8,
        batch_size=32,
        accumulation_steps=1,
        lr=3e-4,
        precision="bfloat16",
        warmup_epochs=0.2,
        alpha_infonce=10.0,
        temperature=0.03,
        epochs=epochs,
        device=device,
        output_dir=str(output_dir),
        resume=resume,
    )


def walk(recipe: Recipe, contexts: tuple[int, ...]) -> bool:
    """Train as the recipe says, score the best weights beside their untrained self, export and verify them.

    Returns:
        Whether the Core ML package computes what the model does.
    """
    import time

    import torch

    from ..evaluation.evaluate import evaluate
    from ..evaluation.words import summary
    from ..export.coreml import export_coreml  # first of all: a missing extra should not cost a training
    from ..export.options import SUFFIX
    from ..export.toolkit import ct
    from ..export.verify import verify_coreml
    from ..models.registry import create_model
    from ..training.trainer import train

    started = time.monotonic()
    result = train(recipe)
    torch.manual_seed(recipe.seed)
    untrained = create_model(recipe.model_type, **result.model.config)
    report = evaluate(
        result.model,
        result.validation,
        context_length=recipe.context_length,
        stride=recipe.val_stride,
        seed=recipe.seed,
        rivals={"untrained": untrained},
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

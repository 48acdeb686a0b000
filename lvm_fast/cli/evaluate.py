"""`lvm-fast evaluate`: a model, held-out chains -> Hit@K beside its baselines, in words, numbers and a picture."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from . import scoring

HELP = "score a model on held-out chains, beside baselines, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a training run, a checkpoint (.pt), or the folder of a saved model or a router"
    )
    scoring.add_arguments(parser, "the run's")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where report.json, .md and .png go, or report-pool-N.* for another pool (default: beside the model)",
    )


def run(args: argparse.Namespace) -> int:
    import sys

    from ..data.windows import Windows
    from ..device import choose_device
    from ..evaluation.documents import check_documents
    from ..evaluation.evaluate import evaluate
    from ..evaluation.routers import RouterReport, arms_in_words, evaluate_router
    from ..evaluation.words import experts_in_words, summary
    from ..inference.router import Router
    from ..training.overlap import seen_in_training
    from ..training.runs import open_run
    from .warn import plain_warnings

    device = choose_device(args.device)
    opened = open_run(args.model, "evaluate")
    model = opened.model.to(device)
    recipe = scoring.scoring_recipe(args, opened, "evaluate")
    name = "report" if args.pool == "targets" else f"report-pool-{args.pool}"
    folder = args.output_dir or opened.folder
    check_documents(folder, name, "evaluate: report", [args.model, recipe.data, recipe.validation_data])
    with plain_warnings():
        scored, others = scoring.scored_chains(recipe, args.split, "evaluate")
        if not isinstance(scored, Windows):
            scored = Windows(scored, recipe.context_length, recipe.val_stride, recipe.min_length)
        for seen in seen_in_training(opened.recipe, recipe if args.split == "val" else None, scored):
            warnings.warn(f"evaluate: {seen.words}", stacklevel=2)
    options = {
        "pool": args.pool,
        "seed": recipe.seed,
        "bootstrap": args.bootstrap,
        "batch_size": args.batch_size,
        "device": device,
        "distractors": others,
        "data_name": scoring.name_of_data(recipe, args.split),
        "progress": sys.stderr.isatty(),
    }
    score: Any = evaluate_router if isinstance(model, Router) else evaluate
    report = score(model, scored, **options)
    written = report.save(folder, opened.history, name)
    print(summary(report))
    if isinstance(report, RouterReport):
        print(f"\n{arms_in_words(report)}")
    if report.experts:
        print(f"\n{experts_in_words(report)}")
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0

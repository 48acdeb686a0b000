"""`lvm-fast evaluate`: a model, held-out chains -> Hit@K beside its baselines, in words, numbers and a picture."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from . import _options_query
from ._report_name import path_of, report_name

_PUBLIC = (
    "the general model has learned from public corpora (docs/explanation/champion.md); "
    "of those, this is no held-out score"
)
HELP = "score a model on held-out chains, beside baselines, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a training run, a checkpoint (.pt), or the folder of a saved model or a router"
    )
    _options_query.add_arguments(parser, "the run's")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where report.json, .md and .png go (default: beside the model); the name tells what is not the run's "
        "own, such as report-DATA-pool-N.*",
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from dataclasses import replace

    from .._util.device import choose_device
    from .._util.terminal import is_terminal
    from ..evaluation.evaluate import evaluate
    from ..evaluation.evaluate_router import RouterReport, arms_in_words, evaluate_router
    from ..evaluation.report_markdown import experts_in_words, summary
    from ..evaluation.write_files import check_documents
    from ..inference.router import Router
    from ..models.base import LatentVectorModel
    from ..models.pretrained import is_packaged
    from ..spaces import fit_space
    from ..training.runs import open_run
    from ..training.spaces import check_encoder

    device = choose_device(args.device)
    opened = open_run(args.model, "evaluate")
    model = opened.model.to(device)
    recipe = _options_query.scoring_recipe(args, opened, "evaluate")
    scored = _options_query.scored_chains(recipe, args.split, "evaluate")
    windows = _options_query.questions(scored, recipe)
    check_encoder(model, windows.store, "evaluate", args.force)
    seen = _options_query.check_leaks(args, opened, recipe, scored, "evaluate", windows)
    if is_packaged(args.model) and isinstance(model, LatentVectorModel):
        model.set_space(fit_space((scored.others or windows.store).vectors))
        args.output_dir = args.output_dir or Path()
        seen = [*seen, _PUBLIC]
    options = {
        "pool": args.pool,
        "seed": recipe.seed,
        "bootstrap": args.bootstrap,
        "batch_size": args.batch_size,
        "device": device,
        "exclude_read": _options_query.reading(args),
        "training": scored.others,
        "distractors": scored.others,
        "data_name": _options_query.name_of_data(recipe, args.split),
        "notes": [f"{words[0].upper()}{words[1:]}." for words in seen],
        "progress": is_terminal(sys.stderr),
    }
    score: Any = evaluate_router if isinstance(model, Router) else evaluate
    report = score(model, windows, **options)
    report = replace(report, data={**report.data, "digest": scored.digest, "model": path_of(opened)})
    for note in report.warnings[len(seen) :]:
        warnings.warn(f"evaluate: {note}", stacklevel=1)
    print(summary(report))
    if isinstance(report, RouterReport):
        print(f"\n{arms_in_words(report)}")
    if report.experts:
        print(f"\n{experts_in_words(report)}")
    sys.stdout.flush()  # before anything is saved: the folder may be read-only
    folder = args.output_dir or opened.folder
    name = report_name(args, opened, recipe, report)
    check_documents(folder, name, "evaluate: report", [args.model, recipe.data, recipe.validation_data])
    written = report.save(folder, opened.history, name)
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0

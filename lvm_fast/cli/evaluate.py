"""`lvm-fast evaluate`: scores a model on held-out chains beside its baselines, as text, JSON and a picture."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

from . import _options_query
from ._json_output import add_json, print_json, words_aside
from ._report_name import model_path, report_name

_SEEN = "the general model has learned from these very chunks: this is no held-out score (docs/explanation/champion.md)"
QUESTIONS = 2000  # that a page keeps: some megabytes
HELP = "score a model on held-out chains, beside baselines, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a training run, a checkpoint (.pt), or the folder of a saved model or a router"
    )
    _options_query.add_evaluation_options(parser, "the run's")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where report.json, .md and .png go (default: beside the model); the name says which options differ from "
        "the run's own, such as report-DATA-pool-N.*",
    )
    parser.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="also write one page to look at: pictures, tables, and the questions with what was found (report.html)",
    )
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    import sys
    from dataclasses import replace

    from .._util.atomic_files import check_output
    from .._util.device import choose_device
    from .._util.terminal import is_terminal
    from ..evaluation.evaluate import evaluate
    from ..evaluation.evaluate_router import RouterReport, arms_table, evaluate_router
    from ..evaluation.report_markdown import experts_summary
    from ..evaluation.write_files import check_documents
    from ..inference.adapt import QUERIES, adapt_to
    from ..inference.router import Router
    from ..models.base import LatentVectorModel
    from ..models.pretrained import PACKAGED, is_packaged
    from ..models.seen import has_seen
    from ..training.run_folder import open_run
    from ..training.spaces import check_encoder

    device = choose_device(args.device)
    opened = open_run(args.model, "evaluate")
    model = opened.model.to(device)
    recipe = _options_query.query_recipe(args, opened, "evaluate")
    if args.html is not None:
        inputs = filter(None, [args.model, recipe.data, recipe.validation_data])
        check_output(args.html, "evaluate: --html", inputs, overwrite=True)
    data = _options_query.open_query_data(recipe, args.split, "evaluate")
    windows = _options_query.windows_to_score(data, recipe)
    check_encoder(model, windows.store, "evaluate", args.force)
    notes = _options_query.check_leaks(args, opened, recipe, data, "evaluate", windows)
    if is_packaged(args.model) and isinstance(model, LatentVectorModel):
        # the questions' own chunks may give the space, but no query bank
        adapt_to(model, data.others or windows.store, QUERIES if data.others else 0)
        args.output_dir = args.output_dir or Path()
        if has_seen(PACKAGED[str(args.model)], windows.store.vectors):
            notes = [*notes, _SEEN]
    options = {
        "pool": args.pool,
        "seed": recipe.seed,
        "bootstrap": args.bootstrap,
        "batch_size": args.batch_size,
        "device": device,
        "exclude_read": _options_query.exclude_read(args),
        "training": data.others,
        "distractors": data.others,
        "data_name": _options_query.data_name(recipe, args.split),
        "notes": [f"{note[0].upper()}{note[1:]}." for note in notes],
        "questions": QUESTIONS if args.html else 0,
        "progress": is_terminal(sys.stderr),
    }
    evaluate_model: Any = evaluate_router if isinstance(model, Router) else evaluate
    report = evaluate_model(model, windows, **options)
    report = replace(report, data={**report.data, "digest": data.digest, "model": model_path(opened)})
    for note in report.warnings[len(notes) :]:
        warnings.warn(f"evaluate: {note}", stacklevel=1)
    with words_aside(args.json):
        print(report.summary())
        if isinstance(report, RouterReport):
            print(f"\n{arms_table(report)}")
        if report.experts:
            print(f"\n{experts_summary(report)}")
    if args.json:
        print_json(report.to_dict())
    sys.stdout.flush()  # before the save, which may fail
    folder = args.output_dir or opened.folder
    name = report_name(args, opened, recipe, report)
    check_documents(folder, name, "evaluate: report", [args.model, recipe.data, recipe.validation_data])
    written = report.save(folder, opened.history, name)
    if args.html is not None:
        written.append(report.save_html(args.html, opened.history))
    with words_aside(args.json):
        print(f"\nWritten: {', '.join(map(str, written))}")
    return 0

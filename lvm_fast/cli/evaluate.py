"""`lvm-fast evaluate`: a model, held-out chains -> Hit@K beside its baselines, in words, numbers and a picture."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import scoring

if TYPE_CHECKING:
    from ..evaluation.report import Report
    from ..training.recipe import Recipe
    from ..training.runs import Run

HELP = "score a model on held-out chains, beside baselines, with intervals"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", type=Path, help="a training run, a checkpoint (.pt), or the folder of a saved model or a router"
    )
    scoring.add_arguments(parser, "the run's")
    parser.add_argument(
        "--output-dir",
        type=Path,
        help="where report.json, .md and .png go (default: beside the model); the name tells what is not the run's "
        "own, such as report-DATA-pool-N.*",
    )


def run(args: argparse.Namespace) -> int:
    import sys
    from dataclasses import replace

    from .._util.terminal import is_terminal
    from ..device import choose_device
    from ..evaluation.evaluate import evaluate
    from ..evaluation.routers import RouterReport, arms_in_words, evaluate_router
    from ..evaluation.words import experts_in_words, summary
    from ..inference.router import Router
    from ..training.runs import open_run

    device = choose_device(args.device)
    opened = open_run(args.model, "evaluate")
    model = opened.model.to(device)
    recipe = scoring.scoring_recipe(args, opened, "evaluate")
    scored = scoring.scored_chains(recipe, args.split, "evaluate")
    windows = scoring.questions(scored, recipe)
    seen = scoring.check_leaks(args, opened, recipe, scored, "evaluate", windows)
    options = {
        "pool": args.pool,
        "seed": recipe.seed,
        "bootstrap": args.bootstrap,
        "batch_size": args.batch_size,
        "device": device,
        "distractors": scored.others,
        "data_name": scoring.name_of_data(recipe, args.split),
        "notes": [f"{words[0].upper()}{words[1:]}." for words in seen],
        "progress": is_terminal(sys.stderr),
    }
    score: Any = evaluate_router if isinstance(model, Router) else evaluate
    report = score(model, windows, **options)
    report = replace(report, data={**report.data, "digest": scored.digest})
    for note in report.warnings[len(seen) :]:
        warnings.warn(f"evaluate: {note}", stacklevel=1)
    print(summary(report))
    if isinstance(report, RouterReport):
        print(f"\n{arms_in_words(report)}")
    if report.experts:
        print(f"\n{experts_in_words(report)}")
    sys.stdout.flush()  # before anything is saved: the folder may be read-only
    folder = args.output_dir or opened.folder
    written = report.save(folder, opened.history, _name(args, opened, recipe, report, folder))
    print(f"\nWritten: {', '.join(map(str, written))}")
    return 0


def _name(args: argparse.Namespace, opened: Run, recipe: Recipe, report: Report, folder: Path) -> str:
    """What the report is called, so that it replaces an earlier answer to the same question only.

    "report" is a run's own: on its validation chains, by its settings. What is asked otherwise is in the name.
    """
    whole = _whole_name(args, opened, recipe)
    names = [whole] if opened.recipe is not None else ["report", whole]
    taken = (name for name in names if _is_free(folder / f"{name}.json", report))
    digest: str = report.data["digest"]
    return "report" if whole == "report" else next(taken, f"{whole}-{digest[:8]}")


def _whole_name(args: argparse.Namespace, opened: Run, recipe: Recipe) -> str:
    """The word "report", and after it all that is not the run's own or not usual."""
    import re

    from ..models.pretrained import BEST_CHECKPOINT
    from ..training.recipe import Recipe, same_setting

    own = opened.recipe
    parts = [opened.path.stem] if opened.path.is_file() and opened.path.name != BEST_CHECKPOINT else []
    data = ("data", "validation_data")
    if own is None or not all(same_setting(name, getattr(recipe, name), getattr(own, name)) for name in data):
        parts.append(Path(recipe.data).stem)
    parts += ["all"] if args.split == "all" else []
    settings = {"context_length": "context", "val_stride": "stride", "val_fraction": "val", "seed": "seed"}
    for name, word in settings.items():
        if getattr(recipe, name) != getattr(own or Recipe(), name):
            parts.append(f"{word}-{getattr(recipe, name)}")
    parts += [] if args.pool == "targets" else [f"pool-{args.pool}"]
    return "-".join(["report", *(re.sub(r"[^\w.-]+", "_", part) for part in parts)])


def _is_free(path: Path, report: Report) -> bool:
    """Whether a report's file is not there, or holds an answer to the same question."""
    import json

    try:
        before, now = json.loads(path.read_text(encoding="utf-8")), report.to_dict()
        same = ("context_length", "stride", "pool", "seed")
        return all(before[key] == now[key] for key in same) and all(
            before["data"].get(key) == now["data"].get(key) for key in ("digest", "split")
        )
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False

"""What a report is called, so that it replaces an earlier answer to the same question and nothing else.

"report" is a run's own: on its validation chains, by its settings. Whatever is asked otherwise is in the name.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..evaluation.report import Report
    from ..training.recipe import Recipe
    from ..training.runs import Run

_SETTINGS = {"context_length": "context", "val_stride": "stride", "val_fraction": "val", "seed": "seed"}


def report_name(args: argparse.Namespace, run: Run, recipe: Recipe, report: Report) -> str:
    """Return the name, without a suffix.

    Args:
        args: The split, the pool, what is read, and ``output_dir``: beside the model unless given.
        run: The model.
        recipe: Says which data was scored and how.
        report: What is to be saved, with the data's digest and the model's path in its data.
    """
    folder = args.output_dir or run.folder
    whole = _whole_name(args, run, recipe)
    if whole == "report" and args.output_dir is None:
        return whole
    names = ["report", whole] if run.recipe is None else [whole]
    if args.output_dir is not None:
        names.append(_joined([whole, run.name]))  # another model's report may be there
    digest: str = report.data["digest"]
    free = (name for name in names if _is_free(folder / f"{name}.json", report))
    return next(free, _joined([whole, run.name, digest[:8]]))


def path_of(run: Run) -> str:
    """Where a model is: its run's folder, or the checkpoint that is not the run's best."""
    return str((run.path if _is_other_checkpoint(run) else run.folder).absolute())


def _whole_name(args: argparse.Namespace, run: Run, recipe: Recipe) -> str:
    return _joined(["report", *_unusual(args, run, recipe)])


def _unusual(args: argparse.Namespace, run: Run, recipe: Recipe) -> Iterator[str]:
    """What is not the run's own or not usual."""
    from ..training.recipe import Recipe, same_setting

    own, data = run.recipe, ("data", "validation_data")
    if _is_other_checkpoint(run):
        yield run.path.stem
    if own is None or not all(same_setting(name, getattr(recipe, name), getattr(own, name)) for name in data):
        yield Path(recipe.data).stem
    if args.split == "all":
        yield "all"
    for name, word in _SETTINGS.items():
        if getattr(recipe, name) != getattr(own or Recipe(), name):
            yield f"{word}-{getattr(recipe, name)}"
    if args.pool != "targets":
        yield f"pool-{args.pool}"
    if args.include_read:
        yield "with-read"


def _is_other_checkpoint(run: Run) -> bool:
    from ..models.pretrained import BEST_CHECKPOINT

    return run.path.is_file() and run.path.name != BEST_CHECKPOINT


def _joined(parts: list[str]) -> str:
    return "-".join(re.sub(r"[^\w.-]+", "_", part) for part in parts)


def _is_free(path: Path, report: Report) -> bool:
    """Whether a report's file is not there, or holds an answer to the same question."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return _question(before) == _question(report.to_dict())
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _question(report: dict[str, Any]) -> list[Any]:
    data = report["data"]
    asked = [report[key] for key in ("context_length", "stride", "pool", "seed", "exclude_read")]
    return [*asked, *(data.get(key) for key in ("digest", "model", "split"))]

"""Names reports, so that a report replaces an earlier one of the same evaluation and nothing else.

"report" is the evaluation of a run by its own settings, on its validation chains. The name says whatever differs.
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
    from ..training.run_folder import Run

_SETTINGS = {"context_length": "context", "val_stride": "stride", "val_fraction": "val", "seed": "seed"}


def report_name(args: argparse.Namespace, run: Run, recipe: Recipe, report: Report) -> str:
    """Return the name, without a suffix.

    Args:
        args: The options: split, pool, --include-read, and --output-dir, which is beside the model unless given.
        run: The model.
        recipe: Which data was scored, and how.
        report: The report to save; its data has the digest of the data and the path of the model.
    """
    folder = args.output_dir or run.folder
    full = _full_name(args, run, recipe)
    if full == "report" and args.output_dir is None:
        return full
    names = ["report", full] if run.recipe is None else [full]
    if args.output_dir is not None:
        names.append(_joined([full, run.name]))  # another model's report may be there
    digest: str = report.data["digest"]
    free = (name for name in names if _is_free(folder / f"{name}.json", report))
    return next(free, _joined([full, run.name, digest[:8]]))


def model_path(run: Run) -> str:
    """Return the path of a model: its run's folder, or the checkpoint if it is not the run's best."""
    return str((run.path if _is_other_checkpoint(run) else run.folder).absolute())


def _full_name(args: argparse.Namespace, run: Run, recipe: Recipe) -> str:
    return _joined(["report", *_differences(args, run, recipe)])


def _differences(args: argparse.Namespace, run: Run, recipe: Recipe) -> Iterator[str]:
    """Yield a word for each setting that is not the run's own or not the default."""
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
    """Tell whether a report's file is missing, or holds a report of the same evaluation."""
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        return _identity(before) == _identity(report.to_dict())
    except FileNotFoundError:
        return True
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _identity(report: dict[str, Any]) -> list[Any]:
    data = report["data"]
    asked = [report[key] for key in ("context_length", "stride", "pool", "seed", "exclude_read")]
    return [*asked, *(data.get(key) for key in ("digest", "model", "split"))]

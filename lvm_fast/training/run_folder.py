"""The folder of a run: one training at a time claims it; afterwards it holds a model, its recipe and its history."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.atomic_files import size_of
from .._util.folders import locked_folder, new_folder
from ..inference.router import Router, reach_of
from ..models.base import LatentVectorModel
from ..models.pretrained import BEST_CHECKPOINT, load_model, place_of_model, read_checkpoint
from ..models.saving import CONFIG, ROUTER
from .checkpoint import HISTORY, LAST_CHECKPOINT
from .recipe import Recipe

RECIPE = "recipe.yaml"


@contextmanager
def claimed_folder(recipe: Recipe) -> Iterator[Path]:
    """Hold the run's folder while the block runs, so that no other training works in it; make it where it is not there.

    Without `recipe.output_dir` it is the first of ``runs/MODEL-LENGTH``, ``-2``, ``-3``, ... that is not there. When
    the block raises, what was made here and is still empty goes again.

    Raises:
        OSError: The folder cannot be made, is another training's, or holds another run, or none to resume.
        ValueError: The recipe resumes and names no folder.
    """
    if recipe.output_dir is None:
        if recipe.resume:
            raise ValueError("train: resume needs output_dir, the folder of the run to continue")
        made = _make(Path("runs"))
        folder = new_folder(Path("runs", f"{recipe.model_type}-{recipe.context_length}"))
        made.append(folder)
    else:
        folder = Path(recipe.output_dir)
        _check_free(folder, recipe)
        made = _make(folder)
    with ExitStack() as held:
        try:
            held.enter_context(locked_folder(folder, wait=False))
        except BlockingIOError as error:
            expected = "wait until it ends, or choose another output_dir"
            raise FileExistsError(f"train: another training works in {str(folder)!r}; {expected}") from error
        try:
            _check_free(folder, recipe)  # another may have come and gone meanwhile
            yield folder
        except BaseException:
            with suppress(OSError):  # not empty
                for place in reversed(made):
                    place.rmdir()
            raise


def _check_free(folder: Path, recipe: Recipe) -> None:
    if recipe.resume:
        if not (folder / RECIPE).exists():
            raise FileNotFoundError(f"train: output_dir {str(folder)!r} holds no run to resume (no {RECIPE})")
    elif folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"train: output_dir {str(folder)!r} is not empty; choose another, or continue the run in it with "
            "resume=True (--resume)"
        )


def _make(folder: Path) -> list[Path]:
    """Make a folder and those above it; return the ones that this process has made, the outermost first."""
    made = []
    for place in reversed([folder, *folder.parents]):
        if place.is_dir():
            continue
        try:
            place.mkdir()
            made.append(place)
        except FileExistsError:
            if not place.is_dir():  # a file; else another process was quicker
                raise
    return made


def run_to_continue(recipe: Recipe) -> Path | None:
    """Return the folder of the run that the recipe resumes, where it has finished an epoch."""
    if not recipe.resume or recipe.output_dir is None:
        return None
    folder = Path(recipe.output_dir)
    return folder if (folder / LAST_CHECKPOINT).exists() else None


def recipe_of(place: Path) -> Recipe | None:
    """Read the recipe that a run or a checkpoint was trained by; None where there is none, or none that can be read."""
    recipe = (place if place.is_dir() else place.parent) / RECIPE
    try:
        if not place.exists():
            return None
        if recipe.exists():
            return Recipe.from_yaml(recipe)
        return Recipe.from_dict(read_checkpoint(place)["args"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Run:
    """A model on disk, wherever it came from.

    Attributes:
        path: As it was named: a training run, a checkpoint, or the folder of a saved model or a router.
        folder: That folder, or the checkpoint's.
        model: The model or router, on the CPU, in evaluation mode.
        recipe: How it was trained, where a recipe lies beside it.
        history: A row an epoch, where a history lies beside it.
    """

    path: Path
    folder: Path
    model: LatentVectorModel | Router
    recipe: Recipe | None
    history: list[dict[str, Any]] | None

    @property
    def name(self) -> str:
        """The last part of the path that says which one it is."""
        path = self.path.absolute()
        return path.parent.name if path.name == BEST_CHECKPOINT else path.name

    @property
    def context_length(self) -> int | None:
        """The most vectors it is meant to see: by its recipe, else all it can read; None where nothing tells."""
        return self.recipe.context_length if self.recipe else reach_of(self.model)

    @property
    def training_seconds(self) -> float | None:
        """What its epochs took, validation left out."""
        return sum(row["seconds"] for row in self.history) if self.history else None

    @property
    def package_bytes(self) -> int | None:
        """The size of the newest Core ML package in its folder."""
        packages = sorted(self.folder.glob("*.mlpackage"), key=lambda package: package.stat().st_mtime)
        return size_of(packages[-1]) if packages else None


def open_run(path: Path, where: str) -> Run:
    """Load a model and what lies beside it.

    Args:
        path: A training run, a checkpoint (.pt), the folder of a saved model or a router, or "general".
        where: What messages begin with, such as "evaluate".

    Raises:
        FileNotFoundError: There is no model.
        ValueError: A file is damaged.
    """
    path = place_of_model(path)
    if path.is_dir() and not any((path / name).exists() for name in (BEST_CHECKPOINT, CONFIG, ROUTER)):
        if (path / RECIPE).exists():
            raise FileNotFoundError(
                f"{where}: the run in {path} has no {BEST_CHECKPOINT}: it has not finished an epoch"
            )
        state = "holds no model" if any(path.iterdir()) else "is empty"
        raise FileNotFoundError(f"{where}: {path} {state}; expected a training run, or a saved model or router")
    folder = path if path.is_dir() else path.parent
    recipe = Recipe.from_yaml(folder / RECIPE) if (folder / RECIPE).exists() else None
    return Run(path, folder, load_model(path), recipe, _history(folder, where))


def _history(folder: Path, where: str) -> list[dict[str, Any]] | None:
    path = folder / HISTORY
    if not path.exists():
        return None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["epochs"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{where}: {path} is no training history: {error}") from error
    return rows

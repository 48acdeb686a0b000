"""Reads what a training leaves in its folder: a model, its recipe and its history."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .._util.atomic_files import size_of
from ..inference.router import Router, reach_of
from ..models.base import LatentVectorModel
from ..models.pretrained import BEST_CHECKPOINT, load_model, place_of_model, read_checkpoint
from ..models.saving import CONFIG, ROUTER
from .checkpoint import HISTORY, RECIPE
from .recipe import Recipe


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
        """The seconds that its epochs took, validation left out."""
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

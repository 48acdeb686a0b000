"""The folder of a run: found or made, and never mixed up with another run's."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from ..models.pretrained import read_checkpoint
from .checkpoint import LAST_CHECKPOINT
from .recipe import Recipe

RECIPE = "recipe.yaml"


def check_folder(recipe: Recipe) -> None:
    """Refuse a folder that the run cannot have; nothing is made.

    Raises:
        OSError: The folder belongs to another run, or holds none to resume.
        ValueError: The recipe resumes and names no folder.
    """
    if recipe.output_dir is None:
        if recipe.resume:
            raise ValueError("train: resume needs output_dir, the folder of the run to continue")
        return
    folder = Path(recipe.output_dir)
    if recipe.resume:
        if not (folder / RECIPE).exists():
            raise FileNotFoundError(f"train: output_dir {recipe.output_dir!r} holds no run to resume (no {RECIPE})")
    elif folder.is_dir() and any(folder.iterdir()):
        raise FileExistsError(
            f"train: output_dir {recipe.output_dir!r} is not empty; choose another, or continue the run in it with "
            "resume=True (--resume)"
        )


def choose_folder(recipe: Recipe) -> tuple[Path, bool]:
    """Check the run's folder, or find a free one; `recipe.output_dir` names it afterwards.

    Returns:
        The folder, which may have to be made, and whether it holds a finished epoch to continue from.

    Raises:
        OSError, ValueError: As `check_folder` does.
    """
    check_folder(recipe)
    if recipe.output_dir is None:
        recipe.output_dir = str(_free_folder(f"{recipe.model_type}-{recipe.context_length}"))
    return Path(recipe.output_dir), run_to_continue(recipe) is not None


def run_to_continue(recipe: Recipe) -> Path | None:
    """The folder of the run that the recipe resumes, where it has finished an epoch."""
    if not recipe.resume or recipe.output_dir is None:
        return None
    folder = Path(recipe.output_dir)
    return folder if (folder / LAST_CHECKPOINT).exists() else None


def recipe_of(place: Path) -> Recipe | None:
    """The recipe that a run or a checkpoint was trained by; None where there is none, or none that can be read."""
    recipe = (place if place.is_dir() else place.parent) / RECIPE
    try:
        if not place.exists():
            return None
        if recipe.exists():
            return Recipe.from_yaml(recipe)
        return Recipe.from_dict(read_checkpoint(place)["args"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _free_folder(name: str) -> Path:
    names = (f"{name}-{number}" if number > 1 else name for number in count(1))
    return next(folder for folder in (Path("runs", name) for name in names) if not folder.exists())

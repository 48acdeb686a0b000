"""The folder of a run: found or made, and never mixed up with another run's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from .._util.folders import locked_folder, new_folder
from ..models.pretrained import read_checkpoint
from .checkpoint import LAST_CHECKPOINT
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

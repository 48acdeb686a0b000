"""The folder of a run: one training at a time claims it, and writes after every epoch all that it takes to go on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from .._util.atomic_files import atomic_path, atomic_write_text
from .._util.folders import locked_folder, new_folder
from ..models.base import LatentVectorModel
from ..models.pretrained import BEST_CHECKPOINT, read_checkpoint
from .learner import Learner
from .recipe import Recipe, same_setting
from .validation import SMALL_POOL

RECIPE = "recipe.yaml"
LAST_CHECKPOINT = "last.pt"
HISTORY = "training_history.json"

_SCORES = {"hit5": 100.0, "mrr": 100.0, "mean_cosine": 1.0}  # what may decide, and the highest it can be

# settings that a continued run may have otherwise
_MAY_CHANGE = {
    "epochs",
    "patience",
    "min_improvement",
    "device",
    "recompute",
    "compile",
    "output_dir",
    "resume",
    "tensorboard",
    "progress",
    "trackers",
}


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


@dataclasses.dataclass
class Progress:
    """Counts steps and epochs, and knows the best epoch so far.

    Attributes:
        step: Optimiser steps done.
        best_hit5: Validation Hit@5 of the best epoch, percent; -inf before the first epoch.
        best_epoch: The best epoch, counted from 1; 0 before the first epoch.
        untrained: Scores before the first step, percent.
        history: A row an epoch.
        counts_start: Whether the model before its first step is one to keep, as epoch 0.
    """

    step: int = 0
    best_hit5: float = -float("inf")
    best_epoch: int = 0
    untrained: dict[str, float] = dataclasses.field(default_factory=dict)
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    counts_start: bool = False

    def start(self, pool: int) -> dict[str, Any]:
        """Count the model before its first step as epoch 0, the best so far; return its row."""
        self.counts_start, self.best_hit5 = True, self.untrained["hit5"]
        self.untrained["pool"] = pool
        return {**self.untrained, "epoch": 0}

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def stale_epochs(self) -> int:
        """Epochs since the best one."""
        return self.epoch - self.best_epoch

    def add(self, row: dict[str, Any], min_improvement: float, is_noise: bool = False) -> bool:
        """Append the row of an epoch; return whether it is the best so far, by more than `min_improvement`, a fraction.

        It is not where its gain over the start `is_noise`, as long as the start is the best.
        Hit@5 decides; in a pool of 5 or fewer, where it is always 100, MRR does, and where that cannot rise any more,
        the mean cosine with the right answers.
        """
        best = self.history[self.best_epoch - 1] if self.best_epoch else self.untrained if self.counts_start else {}
        self.history.append(row)
        is_best = _is_better(row, best, min_improvement) and not (is_noise and not self.best_epoch)
        if is_best:
            self.best_hit5, self.best_epoch = row["hit5"], row["epoch"]
        return is_best


def _is_better(row: dict[str, Any], best: dict[str, Any], min_improvement: float) -> bool:
    """Return whether an epoch beats the best one before it; an older run's rows have hits alone."""
    for name, highest in _SCORES.items():
        if (name == "hit5") == (row["pool"] <= SMALL_POOL):
            continue
        before, now = best.get(name, -math.inf), row.get(name, -math.inf)
        if not (before == now == highest):
            return bool(now > before + highest * min_improvement)
    return False


def save_best(
    folder: Path,
    model: LatentVectorModel,
    row: dict[str, Any],
    recipe: Recipe,
    baselines: dict[str, dict[str, float]],
) -> None:
    """Write ``best_val_hit5.pt``: the reference's form, with the model's config; `row` is the epoch's."""
    results = {name: row[name] for name in ("hit1", "hit5", "hit10", "pool", "train_loss", "shrink") if name in row}
    checkpoint = {
        "epoch": row["epoch"],
        "model_type": model.model_type,
        "model_state_dict": model.state_dict(),
        "val_results": results,
        "baselines": baselines,
        "args": recipe.to_dict(),
        "config": model.config,
    }
    _save(checkpoint, folder / BEST_CHECKPOINT)


def save_history(folder: Path, progress: Progress, pool: int, baselines: dict[str, dict[str, float]]) -> None:
    """Write ``training_history.json``; all scores are in percent."""
    history = {
        "best_hit5": progress.best_hit5,
        "best_epoch": progress.best_epoch,
        "pool": pool,
        "baselines": baselines,
        "untrained": progress.untrained,
        "epochs": progress.history,
    }
    atomic_write_text(folder / HISTORY, json.dumps(history, indent=2, allow_nan=False) + "\n")


def save_last(folder: Path, learner: Learner, recipe: Recipe, progress: Progress) -> None:
    """Write ``last.pt``: with it, a run goes on as if it had never stopped."""
    state = {
        "model_state_dict": learner.model.state_dict(),
        "optimizer_state_dict": learner.optimizer.state_dict(),
        "negatives_state": learner.negatives.state(),
        "gate_state": learner.gate.state(),
        "random_state": _random_state(),
        "progress": dataclasses.asdict(progress),
        "args": recipe.to_dict(),
    }
    _save(state, folder / LAST_CHECKPOINT)


def load_last(folder: Path, learner: Learner, recipe: Recipe) -> Progress:
    """Put model, optimiser, negatives, gate and random numbers back to where ``last.pt`` left them.

    Raises:
        ValueError: The file is damaged, or belongs to a run with other settings.
    """
    path = folder / LAST_CHECKPOINT
    state = read_checkpoint(path)
    try:
        _check_same_run(path, state["args"], recipe.to_dict())
        learner.model.load_state_dict(state["model_state_dict"])
        learner.optimizer.load_state_dict(state["optimizer_state_dict"])
        learner.negatives.load_state(state.get("negatives_state", {}))
        learner.gate.load_state(state.get("gate_state", {}))
        _set_random_state(state["random_state"])
        return Progress(**state["progress"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: not the state of a training run: {error!r}") from error


def _check_same_run(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    before = {**Recipe().to_dict(), **before}  # settings that an older run did not know
    before["data_digest"] = before["data_digest"] or now["data_digest"]
    changed = [key for key in now if key not in _MAY_CHANGE and not same_setting(key, before[key], now[key])]
    if changed:
        details = ", ".join(f"{key} was {before[key]!r}, is {now[key]!r}" for key in changed)
        raise ValueError(f"{path}: cannot resume with other settings: {details}")


def _save(checkpoint: dict[str, Any], path: Path) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:  # given a name, torch hides a full disk
        try:
            torch.save(checkpoint, file)
        except RuntimeError as error:  # torch trips over its own half-written file, and hides why it is half-written
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def _random_state() -> dict[str, Any]:
    state: dict[str, Any] = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])

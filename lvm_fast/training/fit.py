"""Training: `train` checks a recipe, prepares the run and fits the model; `fit` is the loop."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.notebook import html_table
from ..data.chain_store import ChainStore
from ..data.windows import GivenWindows, Windows
from ..models.base import LatentVectorModel
from ..models.pretrained import BEST_CHECKPOINT, load_single_model
from .checkpoint import Progress, claimed_folder, save_best, save_history, save_last
from .distributed import DistributedContext, distributed_context
from .logs import RunLog, SilentLog
from .prepare_run import PreparedRun, prepare_run, validate
from .recipe import Recipe
from .validation import Validation


@dataclass(repr=False)
class TrainResult:
    """The outcome of a training run. Scores are percent, in a pool of `pool` candidates; mean_cosine is a cosine.

    Attributes:
        model: The best weights, on the CPU, in evaluation mode.
        best_hit5: Validation Hit@5 of the best epoch.
        best_epoch: That epoch, counted from 1 (0 is a closed form that nothing has beaten): the one of the best Hit@5;
            in a pool of 5 or fewer, where that is always 100, of the best MRR, and of those where that is 100 too, of
            the best mean_cosine.
        pool: Validation candidates.
        baselines: hit1, hit5, hit10, mrr and mean_cosine of the closed forms (`CLOSED_FORMS`), same queries and pool.
        untrained: The same scores of the model before its first step.
        history: A row an epoch: epoch, step, train_loss, the same scores, pool, lr, seconds, vectors_per_second.
        steps: Optimiser steps made.
        checkpoint: ``best_val_hit5.pt``.
        output_dir: The folder of the run.
        validation: The held-out chains; of a sequence file, the held-out windows. `evaluate` takes both.
        training: The chains that were learned from, for `evaluate`; of a sequence file None.
    """

    model: LatentVectorModel
    best_hit5: float
    best_epoch: int
    pool: int
    baselines: dict[str, dict[str, float]]
    untrained: dict[str, float]
    history: list[dict[str, Any]]
    steps: int
    checkpoint: Path
    output_dir: Path
    validation: ChainStore | Windows
    training: ChainStore | None = None

    def __repr__(self) -> str:
        return (
            f"TrainResult({self.model.model_type}: Hit@5 {self.best_hit5:.1f}% in epoch {self.best_epoch} of "
            f"{len(self.history)}, pool {self.pool:,}; {self.checkpoint})"
        )

    def _repr_html_(self) -> str:
        columns = {"hit1": "Hit@1", "hit5": "Hit@5", "hit10": "Hit@10", "mrr": "MRR"}
        scored = {**self.baselines, "untrained": self.untrained}
        scored |= {f"epoch {row['epoch']}": row for row in self.history}
        rows = [[name, *(f"{scores[column]:.1f}" for column in columns)] for name, scores in scored.items()]
        note = f"Validation, pool of {self.pool:,}; percent. {self.steps:,} steps; {self.checkpoint}"
        title = f"{self.model.model_type}: Hit@5 {self.best_hit5:.1f}% in epoch {self.best_epoch}"
        return html_table(title, [note], ["", *columns.values()], rows)

    def to_dict(self) -> dict[str, Any]:
        """Return the scores and the places of the files as plain JSON values."""
        own = {"model_type": self.model.model_type, "checkpoint": str(self.checkpoint)}
        told = ("best_hit5", "best_epoch", "pool", "baselines", "untrained", "history", "steps")
        return {**own, "output_dir": str(self.output_dir), **{name: getattr(self, name) for name in told}}


def train(recipe: Recipe) -> TrainResult:
    """Train a model as the recipe says, until it stops getting better.

    Under ``torchrun`` the processes train one model together: they share the windows of each effective batch, which
    stays `batch_size` x `accumulation_steps` windows, and the result is that of one process. Rank zero alone writes and
    logs; all of them read data and checkpoints from the same paths.

    The run's folder holds the best weights by validation Hit@5 (``best_val_hit5.pt``), the state after the last epoch
    (``last.pt``), the scores (``training_history.json``, ``metrics.jsonl``, ``train.log``), ``recipe.yaml``, and the
    domains of the training chains (``domains.json``) where a gate learns some.

    Args:
        recipe: All settings of the run; it is not changed.

    Returns:
        The best model and how it scored: percent, in the pool of the validation.

    Raises:
        ValueError: A setting does not fit, or the loss is no longer finite; the last good state is kept.
        OSError: The data cannot be read, or the folder cannot be written.

    Example:
        >>> sizes = {"hidden_dim": 8, "num_layers": 1, "memory_slots": 4}
        >>> recipe = Recipe(context_length=8, stride=200, epochs=1, device="cpu", model=sizes, output_dir="run")
        >>> result = train(recipe)  # doctest: +ELLIPSIS
        started in run on cpu...
        >>> result.model.input_dim, result.checkpoint.name
        (768, 'best_val_hit5.pt')
    """
    recipe = validate(recipe)
    with distributed_context(recipe.device) as distributed, ExitStack() as held:
        _check_processes(recipe, distributed)
        folder = distributed.on_rank_zero(held.enter_context, claimed_folder(recipe))
        return fit(prepare_run(replace(recipe, output_dir=str(folder)), folder, distributed))


def _check_processes(recipe: Recipe, distributed: DistributedContext) -> None:
    if recipe.accumulation_steps < distributed.world_size:
        expected = f"at least {distributed.world_size}, a forward pass a process"
        raise ValueError(f"train: accumulation_steps = {recipe.accumulation_steps}; expected {expected}")


def fit(run: PreparedRun) -> TrainResult:
    """Train epoch after epoch until none gets better: optimiser steps, then a validation, then the files.

    Raises:
        ValueError: The loss is no longer finite; the last good state is kept.
        OSError: The folder cannot be written.
    """
    recipe, learner, progress, validation = run.recipe, run.learner, run.progress, run.validation
    model, distributed, windows = learner.model, learner.distributed, run.data.training
    effective_batch = recipe.batch_size * recipe.accumulation_steps  # windows a step, of all processes together
    steps_an_epoch = math.ceil(len(windows) / effective_batch)
    steps, warmup_steps = recipe.epochs * steps_an_epoch, round(recipe.warmup_epochs * steps_an_epoch)
    targets = int(windows.counts.sum())

    with (
        RunLog(run.folder, steps, progress.step, recipe) if distributed.is_rank_zero else SilentLog() as log,
        _interruption_said(log, progress),
    ):
        for line in run.introduction:
            log.say(line)
        if run.negatives is not None:
            run.negatives.prepare(run.folder, distributed)
        for name, scores in {**validation.baselines, "untrained": progress.untrained}.items():
            log.say(f"{name} {validation.describe(scores)}")

        while learner.learns and progress.epoch < recipe.epochs and progress.stale_epochs < recipe.patience:
            epoch = progress.epoch + 1
            if run.negatives is not None and run.negatives.start_epoch(learner, windows, epoch):
                log.say(run.negatives.describe())
                distributed.on_rank_zero(run.negatives.warn_of_none)

            # one pass over the windows, in an order that seed and epoch decide
            order = np.random.default_rng((recipe.seed, epoch)).permutation(len(windows))  # (W,)
            distributed.seed_dropout(recipe.seed, epoch)
            hit5 = progress.history[-1]["hit5"] if progress.history else progress.untrained["hit5"]
            total_loss, vectors, lr, started = 0.0, 0, 0.0, time.perf_counter()
            for first in range(0, len(order), effective_batch):
                group = order[first : first + effective_batch]  # (G,)
                lr = learning_rate(progress.step, steps, warmup_steps, recipe.lr, recipe.lr_floor)
                with _located(f"epoch {epoch}, step {progress.step + 1} (lr {lr:.2g})"):
                    step = learner.step(windows, group, lr)
                progress.step += 1
                total_loss += step.loss * step.targets
                vectors += step.vectors
                speed = vectors / (time.perf_counter() - started)
                log.record("step", {"step": progress.step, "loss": step.loss, "grad_norm": step.grad_norm, "lr": lr})
                log.advance(f"loss {step.loss:.4f}, Hit@5 {hit5:.1f} (pool {validation.pool}), {speed:.0f} vectors/s")
            seconds = time.perf_counter() - started

            # the scores on the validation windows, and whether they are the best so far
            with _located(f"epoch {epoch}, validation after step {progress.step} (lr {lr:.2g})"):
                offer = run.selection.offer(model)
            row = {
                "epoch": epoch,
                "step": progress.step,
                "train_loss": total_loss / targets,
                "lr": lr,
                "seconds": seconds,
                "vectors_per_second": vectors / seconds,
                **offer.scores,
                "pool": validation.pool,
            }
            is_best = progress.add(row, recipe.min_improvement, offer.is_noise)
            distributed.on_rank_zero(_save_epoch, run, offer.model if is_best else None)
            log.record("epoch", row)
            log.say(_describe_epoch(row, recipe.epochs, validation))

        if model.starts_at_closed_form and not progress.best_epoch:
            log.say("nothing that was learned beats the closed form on the validation chains: it is kept as it is")
        log.say(
            f"TRAINING COMPLETE best_hit5={progress.best_hit5:.2f} pool={validation.pool} "
            f"epoch={progress.best_epoch} steps={progress.step}"
        )
    return _result(run)


def learning_rate(step: int, steps: int, warmup: int, highest: float, floor: float) -> float:
    """Return the learning rate of a step: linear warm-up, then half a cosine down to the floor.

    Args:
        step: The optimiser step to come, 0 to ``steps - 1``.
        steps: Steps of the whole training.
        warmup: Steps of warm-up; the last of them runs at `highest`.
        highest: Highest rate.
        floor: Rate of the last step, as a share of `highest`.
    """
    if step < warmup:
        return highest * (step + 1) / warmup
    progress = (step + 1 - warmup) / max(1, steps - warmup)  # (0, 1]
    return highest * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress))))


@contextmanager
def _located(place: str) -> Iterator[None]:
    """Say in the message of a ValueError where in the training it came."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"train: {place}: {error}") from error


@contextmanager
def _interruption_said(log: RunLog, progress: Progress) -> Iterator[None]:
    """Say in the log where Ctrl-C came."""
    try:
        yield
    except KeyboardInterrupt:
        log.say(f"INTERRUPTED in epoch {progress.epoch + 1}; to go on after epoch {progress.epoch}, resume")
        raise


def _save_epoch(run: PreparedRun, best: LatentVectorModel | None) -> None:
    """Write the files of an epoch; `best` is the model to keep, if it is the best so far."""
    progress, validation = run.progress, run.validation
    if best is not None:
        save_best(run.folder, best, progress.history[-1], run.recipe, validation.baselines)
    save_history(run.folder, progress, validation.pool, validation.baselines)
    save_last(run.folder, run.learner, run.recipe, progress)


def _describe_epoch(row: dict[str, Any], epochs: int, validation: Validation) -> str:
    return (
        f"epoch {row['epoch']}/{epochs} loss={row['train_loss']:.4f} {validation.describe(row)} "
        f"{validation.yardstick}_Hit@5={validation.baselines[validation.yardstick]['hit5']:.2f} "
        f"lr={row['lr']:.2g} vectors/s={row['vectors_per_second']:.0f}"
    )


def _result(run: PreparedRun) -> TrainResult:
    """Load the best weights, and put the scores of the run beside them."""
    held_out, progress = run.data.validation, run.progress
    return TrainResult(
        model=load_single_model(run.folder / BEST_CHECKPOINT),
        best_hit5=progress.best_hit5,
        best_epoch=progress.best_epoch,
        pool=run.validation.pool,
        baselines=run.validation.baselines,
        untrained=progress.untrained,
        history=progress.history,
        steps=progress.step,
        checkpoint=run.folder / BEST_CHECKPOINT,
        output_dir=run.folder,
        validation=held_out if isinstance(held_out, GivenWindows) else held_out.store,
        training=run.chains,
    )

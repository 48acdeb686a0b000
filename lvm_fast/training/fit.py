"""The training loop, to be read from top to bottom."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from .._util.atomic_files import atomic_write_text
from ..data.chain_store import ChainStore
from ..data.given_windows import GivenWindows
from ..data.windows import Windows
from ..models.base import LatentVectorModel
from ..models.pretrained import BEST_CHECKPOINT, load_single_model
from .checkpoint import Progress, load_last, save_best, save_history, save_last
from .distributed import Processes, together
from .domains import DOMAINS_FILE, assign_domains
from .learner import Learner
from .load_data import load_data
from .negatives.hard_negatives import own_negatives
from .recipe import Recipe
from .run_folder import RECIPE, claimed_folder, run_to_continue
from .run_log import NoLog, RunLog
from .schedule import learning_rate
from .selection import Offer, Selection
from .sequence_files import fit_windows
from .spaces import enter_space
from .validation import Validation
from .warm_start import check_model, initial_model


@dataclass
class TrainResult:
    """What came out of a training run. Scores are percent, in a pool of `pool` candidates; mean_cosine is a cosine.

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


def train(recipe: Recipe) -> TrainResult:
    """Train a model as the recipe says, until it stops getting better.

    Under ``torchrun`` the processes train one model together: they share the windows of each effective batch, which
    stays `batch_size` x `accumulation_steps` windows, and the result is that of one process. The first of them alone
    writes and tells; all of them read data and checkpoints from the same paths.

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
    recipe = replace(recipe)  # a checked copy
    with together(recipe.device) as processes, ExitStack() as held:
        if recipe.accumulation_steps < processes.count:
            expected = f"at least {processes.count}, a forward pass a process"
            raise ValueError(f"train: accumulation_steps = {recipe.accumulation_steps}; expected {expected}")
        fit_windows(recipe)
        folder = processes.on_first(held.enter_context, claimed_folder(recipe))
        return _train(replace(recipe, output_dir=str(folder)), folder, processes)


def _train(recipe: Recipe, folder: Path, processes: Processes) -> TrainResult:
    check_model(recipe)  # now: the data may take minutes
    data = load_data(recipe)
    recipe = replace(recipe, data_digest=data.digest)
    chains = None if isinstance(data.training, GivenWindows) else data.training.store
    validation = Validation(data.validation, recipe.pool, recipe.seed, recipe.batch_size, processes, chains)

    own_run = processes.on_first(run_to_continue, recipe)
    goes_on = own_run is not None
    initial, origin = initial_model(recipe, data.training.store.dim, own_run)
    best = None if own_run is None else load_single_model(own_run)
    data, space_words = enter_space(recipe, initial, data, validation, best)
    own = own_negatives(recipe, data)
    domains = assign_domains(recipe, data, initial, processes, own_run)
    recipe = recipe.with_absolute_paths()  # as the run's files keep them
    model = initial.to(processes.device)
    learner = Learner(model, recipe, processes.device, processes, own, domains and domains.numbers)

    selection = Selection(validation, model)
    progress = load_last(folder, learner) if goes_on else Progress(untrained=validation.score(model))
    processes.on_first(atomic_write_text, folder / RECIPE, recipe.to_yaml())
    if model.starts_at_closed_form and not goes_on:
        processes.on_first(save_best, folder, model, progress.start(validation.pool), recipe, validation.baselines)
    if domains is not None:
        processes.on_first(atomic_write_text, folder / DOMAINS_FILE, domains.to_json())

    steps_an_epoch = math.ceil(len(data.training) / (recipe.batch_size * recipe.accumulation_steps))
    all_steps = recipe.epochs * steps_an_epoch
    with RunLog(folder, all_steps, progress.step, recipe.tensorboard) if processes.is_first else NoLog() as log:
        log.say(f"{f'resumed after epoch {progress.epoch}' if goes_on else 'started'} in {folder} on {processes}")
        log.say(data.words())
        for note in validation.warnings():
            log.say(f"warning: {note}")
        if learner.precision != recipe.precision:
            log.say(f"precision: {learner.precision}; this device has no {recipe.precision} products of its own")
        log.say(f"model: {model.model_type}, {sum(p.numel() for p in model.parameters()):,} parameters")
        for words in filter(None, (space_words, origin)):
            log.say(words)
        if domains is not None:
            log.say(domains.words())
        if own is not None:
            own.prepare(folder, processes)
        for name, scores in {**validation.baselines, "untrained": progress.untrained}.items():
            log.say(f"{name} {validation.words(scores)}")
        try:
            while learner.learns and progress.epoch < recipe.epochs and progress.stale_epochs < recipe.patience:
                if own is not None and own.start_epoch(learner, data.training, progress.epoch + 1):
                    log.say(own.words())
                    processes.on_first(own.warn_of_none)
                row = _train_epoch(learner, data.training, progress, steps_an_epoch, validation.pool, log)
                offer = _validate(selection, model, row)
                row |= {**offer.scores, "pool": validation.pool}
                is_best = progress.add(row, recipe.min_improvement, offer.is_noise)
                best = offer.model if is_best else None
                processes.on_first(_save, folder, learner, progress, validation, best)
                log.record("epoch", row)
                log.say(_epoch_words(row, recipe.epochs, validation))
        except KeyboardInterrupt:
            log.say(f"INTERRUPTED in epoch {progress.epoch + 1}; to go on after epoch {progress.epoch}, resume")
            raise
        if model.starts_at_closed_form and not progress.best_epoch:
            log.say("nothing that was learned beats the closed form on the validation chains: it is kept as it is")
        log.say(
            f"TRAINING COMPLETE best_hit5={progress.best_hit5:.2f} pool={validation.pool} "
            f"epoch={progress.best_epoch} steps={progress.step}"
        )
    return TrainResult(
        model=load_single_model(folder / BEST_CHECKPOINT),
        best_hit5=progress.best_hit5,
        best_epoch=progress.best_epoch,
        pool=validation.pool,
        baselines=validation.baselines,
        untrained=progress.untrained,
        history=progress.history,
        steps=progress.step,
        checkpoint=folder / BEST_CHECKPOINT,
        output_dir=folder,
        validation=data.validation if isinstance(data.validation, GivenWindows) else data.validation.store,
        training=chains,
    )


def _save(
    folder: Path, learner: Learner, progress: Progress, validation: Validation, best: LatentVectorModel | None
) -> None:
    """Write what the epoch came to; `best` is what it offers to keep, if that is the best so far."""
    if best is not None:
        save_best(folder, best, progress.history[-1], learner.recipe, validation.baselines)
    save_history(folder, progress, validation.pool, validation.baselines)
    save_last(folder, learner, progress)


def _train_epoch(
    learner: Learner, windows: Windows, progress: Progress, steps_an_epoch: int, pool: int, log: RunLog
) -> dict[str, Any]:
    """Make one pass over the windows in an order that seed and epoch decide; return the epoch's row."""
    recipe, epoch = learner.recipe, progress.epoch + 1
    order = np.random.default_rng((recipe.seed, epoch)).permutation(len(windows))
    learner.processes.seed_dropout(recipe.seed, epoch)
    steps, warmup = recipe.epochs * steps_an_epoch, round(recipe.warmup_epochs * steps_an_epoch)
    effective_batch = recipe.batch_size * recipe.accumulation_steps
    hit5 = progress.history[-1]["hit5"] if progress.history else progress.untrained["hit5"]
    total_loss, vectors, lr, started = 0.0, 0, 0.0, time.perf_counter()
    for first in range(0, len(order), effective_batch):
        group = order[first : first + effective_batch]
        lr = learning_rate(progress.step, steps, warmup, recipe.lr, recipe.lr_floor)
        try:
            step = learner.step(windows, group, lr)
        except ValueError as error:
            raise ValueError(f"train: epoch {epoch}, step {progress.step + 1} (lr {lr:.2g}): {error}") from error
        progress.step += 1
        total_loss += step.loss * step.targets
        vectors += step.vectors
        speed = vectors / (time.perf_counter() - started)
        log.record("step", {"step": progress.step, "loss": step.loss, "grad_norm": step.grad_norm, "lr": lr})
        log.advance(f"loss {step.loss:.4f}, Hit@5 {hit5:.1f} (pool {pool}), {speed:.0f} vectors/s")
    seconds = time.perf_counter() - started
    return {
        "epoch": epoch,
        "step": progress.step,
        "train_loss": total_loss / int(windows.counts.sum()),
        "lr": lr,
        "seconds": seconds,
        "vectors_per_second": vectors / seconds,
    }


def _validate(selection: Selection, model: LatentVectorModel, row: dict[str, Any]) -> Offer:
    try:
        return selection.offer(model)
    except ValueError as error:
        place = f"epoch {row['epoch']}, validation after step {row['step']} (lr {row['lr']:.2g})"
        raise ValueError(f"train: {place}: {error}") from error


def _epoch_words(row: dict[str, Any], epochs: int, validation: Validation) -> str:
    return (
        f"epoch {row['epoch']}/{epochs} loss={row['train_loss']:.4f} {validation.words(row)} "
        f"{validation.yardstick}_Hit@5={validation.baselines[validation.yardstick]['hit5']:.2f} "
        f"lr={row['lr']:.2g} vectors/s={row['vectors_per_second']:.0f}"
    )

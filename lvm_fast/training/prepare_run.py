"""From a checked recipe to everything that the training loop takes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from .._util.atomic_files import atomic_write_text
from ..data.chain_store import ChainStore
from ..data.given_windows import GivenWindows
from ..models.base import LatentVectorModel
from ..models.pretrained import load_single_model
from .checkpoint import Progress, load_last, save_best
from .distributed import DistributedContext
from .domains import DOMAINS_FILE, assign_domains
from .learner import Learner
from .load_data import TrainingData, load_data
from .negatives.hard_negatives import HardNegatives, hard_negatives
from .recipe import Recipe
from .run_folder import RECIPE, run_to_continue
from .selection import Selection
from .spaces import enter_space
from .validation import Validation
from .warm_start import initial_model


@dataclass
class PreparedRun:
    """A run that is ready for its next epoch.

    Attributes:
        recipe: Its settings, with absolute paths and the data's digest.
        folder: Where it writes.
        data: The windows, in the model's space.
        chains: The training chains as the encoder gave them; None for a sequence file, whose chains are not known.
        learner: Makes the optimiser steps.
        negatives: Hard negatives to mine in the course of it, if any.
        validation: Scores the model after every epoch.
        selection: Chooses what of the model to keep.
        progress: How far the run has come.
        introduction: What its log begins with, line by line.
    """

    recipe: Recipe
    folder: Path
    data: TrainingData
    chains: ChainStore | None
    learner: Learner
    negatives: HardNegatives | None
    validation: Validation
    selection: Selection
    progress: Progress
    introduction: list[str]


def prepare_run(recipe: Recipe, folder: Path, distributed: DistributedContext) -> PreparedRun:
    """Load the data, make the model and its learner, and write what the folder of a run begins with.

    A run that goes on takes model, optimiser and progress from its folder. All processes call it together.

    Args:
        recipe: What `validate` returned.
        folder: The claimed folder of the run, which is `recipe.output_dir`.
        distributed: The processes that train one model.

    Raises:
        ValueError: The data does not fit the recipe, or the run in the folder had other settings.
        OSError: The data cannot be read, or the folder cannot be written.
    """
    data = load_data(recipe)
    recipe = replace(recipe, data_digest=data.digest)
    chains = None if isinstance(data.training, GivenWindows) else data.training.store
    validation = Validation(data.validation, recipe.pool, recipe.seed, recipe.batch_size, distributed, chains)

    own_run = distributed.on_rank_zero(run_to_continue, recipe)
    model, origin = initial_model(recipe, data.training.store.dim, own_run)
    best = None if own_run is None else load_single_model(own_run)
    data, space = enter_space(recipe, model, data, validation, best)
    negatives = hard_negatives(recipe, data)
    domains = assign_domains(recipe, data, model, distributed, own_run)
    recipe = recipe.with_absolute_paths()  # as the run's files keep them
    model = model.to(distributed.device)
    chain_domains = None if domains is None else domains.numbers
    learner = Learner(model, recipe, distributed.device, distributed, negatives, chain_domains)

    selection = Selection(validation, model)
    progress = load_last(folder, learner, recipe) if own_run else Progress(untrained=validation.score(model))
    distributed.on_rank_zero(atomic_write_text, folder / RECIPE, recipe.to_yaml())
    if model.starts_at_closed_form and own_run is None:
        row = progress.start(validation.pool)
        distributed.on_rank_zero(save_best, folder, model, row, recipe, validation.baselines)
    if domains is not None:
        distributed.on_rank_zero(atomic_write_text, folder / DOMAINS_FILE, domains.to_json())

    state = "started" if own_run is None else f"resumed after epoch {progress.epoch}"
    introduction = [f"{state} in {folder} on {distributed}", data.describe()]
    introduction += [f"warning: {note}" for note in validation.warnings()]
    if learner.precision != recipe.precision:
        reason = f"this device has no {recipe.precision} products of its own"
        introduction.append(f"precision: {learner.precision}; {reason}")
    introduction += [_size(model), *filter(None, (space, origin))]
    if domains is not None:
        introduction.append(domains.describe())
    return PreparedRun(recipe, folder, data, chains, learner, negatives, validation, selection, progress, introduction)


def _size(model: LatentVectorModel) -> str:
    return f"model: {model.model_type}, {sum(p.numel() for p in model.parameters()):,} parameters"

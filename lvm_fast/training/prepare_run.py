"""From a recipe to all that training takes: `validate` checks the recipe, `prepare_run` loads data and model."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from .._util.atomic_files import atomic_write_text
from ..data.chain_store import ChainStore
from ..data.sequences import context_length_of
from ..data.source import is_sequence_file
from ..data.windows import GivenWindows
from ..models.base import LatentVectorModel
from ..models.mixture import MixtureOfExperts
from ..models.pretrained import load_single_model
from .checkpoint import RECIPE, Progress, load_last, run_to_continue, save_best
from .distributed import DistributedContext
from .domains import DOMAINS_FILE, assign_domains
from .learner import Learner
from .load_data import TrainingData, load_data
from .negatives.hard_negatives import HardNegatives, hard_negatives
from .recipe import Recipe
from .selection import Selection
from .spaces import enter_space
from .trackers import check_trackers
from .validation import Validation
from .warm_start import check_model, initial_model

_CURE = "make a chain store of it with `lvm-fast prepare`"


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


def validate(recipe: Recipe) -> Recipe:
    """Return a checked copy of a recipe, with the context length of its sequence file if it has one.

    Raises:
        OSError: The data or the warm start is not there.
        ModuleNotFoundError: A tracker is not installed.
        ValueError: A setting does not fit, by itself, to the data's kind, or to the model.
    """
    recipe = replace(recipe)  # which checks every setting by itself
    apply_sequence_file(recipe)
    check_trackers(recipe.trackers)
    check_model(recipe)
    return recipe


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
    negatives = hard_negatives(recipe, data) if recipe.has_hard_negatives else None
    domains = None
    if isinstance(model, MixtureOfExperts) and recipe.domains is not None:
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


def apply_sequence_file(recipe: Recipe) -> None:
    """Take a sequence file's context length for the recipe's, and refuse what its windows cannot do; read headers only.

    Raises:
        OSError: The file cannot be opened.
        ValueError: It is no sequence file, or a setting needs whole chains, or would do nothing.
    """
    validation = recipe.data if recipe.validation_data is None else recipe.validation_data
    if is_sequence_file(recipe.data):
        _refuse_what_takes_chains(recipe)
        for name in ("stride", "cross_chains"):
            _refuse_if_given(recipe, name, recipe.data)
        length = context_length_of(recipe.data, f"train: {os.fspath(recipe.data)}")
        if recipe.context_length != length:
            _refuse_if_given(recipe, "context_length", recipe.data, f" with {length} vectors of context")
        recipe.context_length = length
    if is_sequence_file(validation):
        _refuse_if_given(recipe, "val_stride", validation)
        if is_sequence_file(recipe.data):
            _refuse_if_given(recipe, "min_length", validation)


def _refuse_what_takes_chains(recipe: Recipe) -> None:
    """Refuse what needs whole chains, or chunks that belong to the training part alone: a sequence file has neither."""
    takes_all_chunks = {
        "objective = 'all_positions'": recipe.objective == "all_positions",
        "infonce_batch = 'bank'": recipe.infonce_batch == "bank",
        "infonce_candidates": recipe.infonce_candidates > 0,
        "enable_soft_negatives": recipe.enable_soft_negatives,
        "enable_hard_negatives": recipe.enable_hard_negatives,
    }
    for setting, is_asked in takes_all_chunks.items():
        if is_asked:
            raise ValueError(
                f"train: {setting} needs whole chains, and data = {str(recipe.data)!r} holds windows; {_CURE}"
            )


def _refuse_if_given(recipe: Recipe, name: str, file: object, detail: str = "") -> None:
    """Refuse a setting that would do nothing, where it is not its default."""
    value = getattr(recipe, name)
    if value != getattr(Recipe, name):
        raise ValueError(
            f"train: {name} = {value!r} does nothing: {str(file)!r} holds windows{detail}; leave it out, or {_CURE}"
        )

"""Finds out whether a model was trained on what it is asked: models compare fairly where none has seen the answers."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data.leakage import covered_rows
from ..data.source import is_sequence_file
from ..data.windows import Windows
from ..retrieval.bank import VectorBank
from ..retrieval.near_duplicates import ALIKE
from .load_data import load_data
from .recipe import Recipe
from .run_folder import recipe_of


class Seen(NamedTuple):
    """The part of the targets that one training saw.

    Attributes:
        share: The share of the different targets that its windows hold, copies and near-copies included; None where
            its recipe or its data are gone.
        description: The same in a sentence.
    """

    share: float | None
    description: str


class Questions(NamedTuple):
    """The questions that a model is asked.

    Attributes:
        windows: Their windows.
        recipe: Says which data they are of, its digest too, and how it was split.
        is_held_out: Whether they are of the split's validation part; else of all its chains.
    """

    windows: Windows
    recipe: Recipe
    is_held_out: bool


def seen_in_training(trained: Recipe | None, questions: Questions) -> list[Seen]:
    """List what the training of a model, and those that led to its warm start, saw of what it is asked.

    Args:
        trained: The model's recipe; None if it is gone.
        questions: What the model is asked.

    Returns:
        The trainings that saw something, or may have, the last one first.
    """
    seen = []
    for whose, recipe in _trainings(trained):
        share = None if recipe is None else _share(recipe, questions)
        if recipe is None or share is None:
            gone = "its recipe or its data are not there, or the data has changed"
            seen.append(Seen(None, f"whether {whose} saw the chunks to predict is not known: {gone}"))
        elif share > 0:
            split = f"data {recipe.data!r}, seed {recipe.seed}, val_fraction {recipe.val_fraction}"
            seen.append(Seen(share, f"{whose} ({split}) saw {share:.1%} of the chunks to predict"))
    return seen


def is_own_validation(trained: Recipe | None, questions: Questions) -> bool:
    """Return whether a training is asked what it was validated on; it has warned of whatever leaks there."""
    if trained is None or not questions.is_held_out or not _is_same_data(trained, questions.recipe):
        return False
    return _split_of(trained) == _split_of(questions.recipe)


def _trainings(recipe: Recipe | None) -> Iterator[tuple[str, Recipe | None]]:
    """Go through the trainings of a model, last one first: a name, and its recipe, or None where that is gone."""
    whose, places = "its training", set()
    yield whose, recipe
    while recipe is not None and recipe.warm_start is not None:
        whose = f"the training of its warm start {recipe.warm_start!r}"
        place = Path(recipe.warm_start).resolve()
        recipe = None if place in places else recipe_of(place)  # a place twice: what began it all is overwritten
        places.add(place)
        yield whose, recipe


def _share(trained: Recipe, questions: Questions) -> float | None:
    """Compute the share of the targets that a training's windows hold: none where it split the same chains alike."""
    if is_own_validation(trained, questions) and _split_by_chain(trained):
        return 0.0
    if _is_same_data(trained, questions.recipe):
        trained = replace(trained, data=questions.recipe.data)  # its own path may lead nowhere by now
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # leaks within its own data are not what is asked here
            training = load_data(trained).training
    except (OSError, ValueError):
        return None
    if training.store.dim != questions.windows.store.dim:
        return 0.0
    bank = VectorBank(training.store.vectors.select(covered_rows(training)), normalize=True)
    scores, _ = bank.topk(questions.windows.store.vectors[np.unique(questions.windows.targets)], 1)
    return float(np.mean(scores[:, 0] >= ALIKE))


def _is_same_data(trained: Recipe, asked: Recipe) -> bool:
    """Compare by digest, wherever the data lies; for an older run, which has none, by where its path leads."""
    if trained.data_digest is not None:
        return trained.data_digest == asked.data_digest
    return bool(_place(trained.data) == _place(asked.data))


def _place(data: Any) -> Any:
    return str(Path(data).resolve()) if isinstance(data, str) else data


def _split_by_chain(recipe: Recipe) -> bool:
    return recipe.validation_data is None and not is_sequence_file(recipe.data)


def _split_of(recipe: Recipe) -> tuple[Any, ...]:
    """Return the settings that decide a split of the same data by chain."""
    return recipe.validation_data, recipe.val_fraction, recipe.seed

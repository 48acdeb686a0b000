"""Checks a recipe against its files and its model, before any data is read or a folder is made."""

from __future__ import annotations

import os
from dataclasses import replace

from ..data.sequences import context_length_of
from ..data.source import is_sequence_file
from .recipe import Recipe
from .trackers import check_trackers
from .warm_start import check_model

_CURE = "make a chain store of it with `lvm-fast prepare`"


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

"""Trains in a space: fits it on the training part, gives it to the model, and maps the training windows into it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..models.pretrained import load_single_model
from ..spaces.space import STRENGTH, Moments, Space, moments_of, space_of
from .hubness import choose_query_bank, keep_query_bank
from .selection import choose_start, take_weights
from .warm_start import start_candidate

if TYPE_CHECKING:
    from ..data.chain_store import ChainStore
    from ..data.windows import Windows
    from ..models.base import LatentVectorModel
    from .load_data import TrainingData
    from .recipe import Recipe
    from .validation import Validation

STRENGTHS = (0.25, 0.5, 0.75)  # that validation chooses from
_WITHOUT_BANK = "no query bank: it takes a model that starts at a closed form, in a space"


def enter_space(
    recipe: Recipe,
    model: LatentVectorModel,
    data: TrainingData,
    validation: Validation,
    own_run: LatentVectorModel | None = None,
) -> tuple[TrainingData, str]:
    """Fit the recipe's space to the training part, give it to the model, and return the data as it learns from it.

    The validation windows stay as they are: a model maps what it is asked itself. A fresh model that starts at a closed
    form gets the one that does best in validation.

    Args:
        recipe: Kind and strength of the space.
        model: The model that a run begins with.
        data: The run's data.
        validation: Its questions.
        own_run: The best model of this very run, where it goes on: what was chosen then stays.

    Returns:
        The data, and words for the log; none where the recipe is raw.

    Raises:
        ValueError: The rows are too few or all equal, or a warm start comes from a space and the recipe is raw.
    """
    if recipe.space == "raw":
        if model.space is not None:
            kind = model.config["space"]["kind"]
            raise ValueError(f"train: warm_start reads a {kind} space; expected space = {kind!r}, got 'raw'")
        return data, _WITHOUT_BANK if recipe.query_bank else ""
    before = (own_run or model).config.get("space")
    moments = moments_of(data.training.store.vectors)
    if before is None and model.starts_at_closed_form:
        words = _chosen(recipe, model, moments, validation, start_candidate(recipe, model, data.training.store))
    else:
        known = before or {}
        strength = known.get("strength", STRENGTH) if recipe.space_strength is None else recipe.space_strength
        model.set_space(space_of(moments, recipe.space, strength))
        model.config["space"] |= {"search": known["search"]} if "search" in known else {}
        if own_run is not None and "decay" in own_run.config:
            model.config["decay"] = own_run.config["decay"]
        if own_run is not None and known.get("start") is not None:
            take_weights(model, load_single_model(known["start"]))
            model.config["space"]["start"] = known["start"]
        words = f"space: {recipe.space} by {moments.rows:,} vectors"
    if own_run is not None:
        keep_query_bank(model, own_run)
    elif recipe.query_bank and model.starts_at_closed_form:
        chosen = choose_query_bank(validation, model, data.training, recipe.query_bank, recipe.seed)
        words += f"; corrected for hubness, strength {chosen}" if chosen else "; not corrected for hubness"
    elif recipe.query_bank:
        words += f"; {_WITHOUT_BANK}"
    encoder = data.training.store.metadata.get("encoder")
    if isinstance(encoder, str):
        model.config["space"]["encoder"] = encoder
    assert model.space is not None
    space = model.space.as_space(model.config["space"])
    return data._replace(training=_in_space(data.training, space)), words


def _chosen(
    recipe: Recipe,
    model: LatentVectorModel,
    moments: Moments,
    validation: Validation,
    candidate: LatentVectorModel | None,
) -> str:
    """Choose what a fresh model starts at; words for the log."""
    given = 0.0 if recipe.space == "centred" else recipe.space_strength
    strengths = STRENGTHS if given is None else (given,)
    spaces = {strength: space_of(moments, recipe.space, strength) for strength in strengths}
    start = choose_start(validation, model, spaces, candidate)
    place = f"{recipe.space}, strength {start.strength}"
    if start.decay is None:
        model.config["space"]["start"] = recipe.start_candidate
        return f"starts from {recipe.start_candidate}: {place}"
    return f"closed form: {place}, decay {start.decay}" + (
        f"; on the validation chains better than {recipe.start_candidate}" if candidate is not None else ""
    )


def check_encoder(model: Any, store: ChainStore, where: str, force: bool = False) -> None:
    """Raise ValueError where a model's space is of another encoder than a store's vectors, if both are known.

    Args:
        model: A model or a router.
        store: What it is to read, or to find.
        where: What messages begin with.
        force: Say nothing.
    """
    mine = (getattr(model, "config", None) or {}).get("space") or {}
    fitted, given = mine.get("encoder"), store.metadata.get("encoder")
    if fitted and given and fitted != given and not force:
        raise ValueError(
            f"{where}: the data was encoded by {given}, the model's space is of {fitted}; encode it again, or --force"
        )


def _in_space(windows: Windows, space: Space) -> Windows:
    """Return the same windows with every vector in a space, float32, in memory."""
    moved = copy.copy(windows)
    moved.store = space.store(windows.store)
    return moved

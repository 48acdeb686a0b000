"""Training in a space: it is fitted on the training part, and what is learned from lies in it."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from ..spaces.space import Space, fit_space

if TYPE_CHECKING:
    from ..data.store import ChainStore
    from ..data.windows import Windows
    from ..models.base import LatentVectorModel
    from .data import TrainingData
    from .recipe import Recipe


def enter_space(recipe: Recipe, model: LatentVectorModel, data: TrainingData) -> TrainingData:
    """Fit the recipe's space to the training part, give it to the model, and return the data as it learns from it.

    The validation windows stay as they are: a model maps what it is asked itself.

    Raises:
        ValueError: The rows are too few or all equal, or a warm start comes from a space and the recipe is raw.
    """
    if recipe.space == "raw" and model.space is not None:
        kind = model.config["space"]["kind"]
        raise ValueError(f"train: warm_start reads a {kind} space; expected space = {kind!r}, got 'raw'")
    space = fit_space(data.training.store.vectors, recipe.space, recipe.space_strength)
    if space is None:
        return data
    model.set_space(space)
    encoder = data.training.store.metadata.get("encoder")
    if isinstance(encoder, str):
        model.config["space"]["encoder"] = encoder
    return data._replace(training=_in_space(data.training, space))


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
    """The same windows with every vector in a space, float32, in memory."""
    moved = copy.copy(windows)
    moved.store = space.store(windows.store)
    return moved

"""Names what can be exported, a model or a router, and finds the model that a function of a package runs.

A router holds several models, its arms: one for each range of context lengths.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import nn

from .._util.numbers import plain
from ..inference.router import Router
from ..models.as_built import changes
from ..models.base import LatentVectorModel

Exportable: TypeAlias = LatentVectorModel | Router


def models_of(model: Exportable) -> list[LatentVectorModel]:
    """Return the model itself, or the models of a router, shortest contexts first."""
    return list(model.arms.values()) if isinstance(model, Router) else [model]


def model_for_length(model: Exportable, context_length: int | None) -> LatentVectorModel:
    """Return the model that reads contexts of this length; of a router without a length, the first."""
    if not isinstance(model, Router):
        return model
    place = 0 if context_length is None else int(model.route([context_length])[0])
    return models_of(model)[place]


def describe_model(model: Exportable) -> dict[str, Any]:
    """Return "model_type", "config" and "recipe_sha256", as a package's metadata holds them.

    The config of a router has a key "arms" with the same three entries for each of its models.
    """
    if not isinstance(model, Router):
        return {
            "model_type": model.model_type,
            "config": plain(model.config),
            "recipe_sha256": model.recipe_digest or "unknown",
        }
    arms = {str(longest): describe_model(arm) for longest, arm in model.arms.items()}
    config = {"input_dim": model.input_dim, "unit": model.unit, "threshold": model.threshold, "arms": arms}
    recipes = ", ".join(str(arm["recipe_sha256"]) for arm in arms.values())
    return {"model_type": model.model_type, "config": config, "recipe_sha256": recipes}


def space_kinds(config: Mapping[str, Any]) -> tuple[str | None, ...]:
    """Return the kind of each model's space, None for a model without one.

    Args:
        config: The "config" that `describe_model` gives.
    """
    arms = config["arms"].values() if "arms" in config else [{"config": config}]
    spaces = [arm["config"].get("space") for arm in arms]
    return tuple(None if space is None else space["kind"] for space in spaces)


def check_as_built(model: Exportable, where: str) -> None:
    """Raise ValueError, beginning with `where`, for a model that no longer computes what its type does."""
    kinds: list[tuple[nn.Module, type | None]] = [(each, None) for each in models_of(model)]
    if isinstance(model, Router):
        kinds.append((model, Router))
    for part, kind in kinds:
        for change in changes(part, kind):
            raise ValueError(f"{where}: {change.words}, which a package would not hold; {change.cure}")

"""A model, or a router with a model (arm) for each length of context: which of them a function of a package is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import nn

from .._util.numbers import plain
from ..inference.router import Router
from ..models.as_built import changes
from ..models.base import LatentVectorModel
from .options import Options

Exportable: TypeAlias = LatentVectorModel | Router


def arms_of(model: Exportable) -> list[LatentVectorModel]:
    """The models."""
    return list(model.arms.values()) if isinstance(model, Router) else [model]


def arm_for(model: Exportable, context_length: int | None) -> LatentVectorModel:
    """The model that answers contexts of a length; of a router, the quickest where no length is given."""
    if not isinstance(model, Router):
        return model
    place = 0 if context_length is None else int(model.route([context_length])[0])
    return arms_of(model)[place]


def space_kinds(config: Mapping[str, Any]) -> tuple[str | None, ...]:
    """The kind of a model's space, None where it has none, of a router those of its arms; from what `facts_of` says."""
    arms = config["arms"].values() if "arms" in config else [{"config": config}]
    spaces = [arm["config"].get("space") for arm in arms]
    return tuple(None if space is None else space["kind"] for space in spaces)


def check_as_built(model: Exportable, where: str) -> None:
    """Raise ValueError, beginning with `where`, where a model computes otherwise than its type's program would."""
    kinds: list[tuple[nn.Module, type | None]] = [(arm, None) for arm in arms_of(model)]
    if isinstance(model, Router):
        kinds.append((model, Router))
    for part, kind in kinds:
        for change in changes(part, kind):
            raise ValueError(f"{where}: {change.words}, which a package would not hold; {change.cure}")


def check_lengths(model: Exportable, options: Options) -> None:
    """Raise ValueError where a context is longer than its model can read, or a router has no model for it."""
    if not isinstance(model, Router):
        model.check_length(max(*options.contexts, options.flexible or 0, 0))
        return
    longest = max(model.arms)
    for index, length in enumerate(options.contexts):
        if length > longest:
            expected = f"at most {longest}, the router's largest limit"
            raise ValueError(f"export_coreml: contexts[{index}] = {length}; expected {expected}")
    if options.flexible is not None:
        raise ValueError("export_coreml: flexible: a router's model depends on the length; pass contexts instead")


def facts_of(model: Exportable) -> dict[str, Any]:
    """What a package says of its model: "model_type", "config" and "recipe_sha256"; of a router, its arms' as well."""
    if not isinstance(model, Router):
        return {
            "model_type": model.model_type,
            "config": plain(model.config),
            "recipe_sha256": model.recipe_digest or "unknown",
        }
    arms = {str(longest): facts_of(arm) for longest, arm in model.arms.items()}
    config = {"input_dim": model.input_dim, "unit": model.unit, "threshold": model.threshold, "arms": arms}
    recipes = ", ".join(str(arm["recipe_sha256"]) for arm in arms.values())
    return {"model_type": model.model_type, "config": config, "recipe_sha256": recipes}

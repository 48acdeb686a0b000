"""Predictions on packed weights: which models and precisions they are for, and the packed forms that are kept."""

from __future__ import annotations

from typing import Any

import torch

from .._util.torch_compat import calls_are_watched
from ..models.as_built import changes
from ..models.model_types import class_below
from .kept import content_of, kept

PRECISIONS = ("float32", "bfloat16", "int8")
_HARMLESS = ("eps", "predict", "stream")  # the first is packed as it is, the others come before the pass


def check_precision(where: str, weights: Any) -> None:
    """Raise ValueError unless `weights` is the name of a precision."""
    if weights not in PRECISIONS:
        raise ValueError(f"{where}: weights = {weights!r}; expected {', '.join(map(repr, PRECISIONS))}")


def can_pack(where: str, model: Any, weights: str) -> bool:
    """Return whether the core runs this model with such weights; float32 is left to torch where it does not.

    Raises:
        ValueError: It does not, and torch has no bfloat16 or int8 weights to offer either.
    """
    reason = _why_not(model)
    if weights == "float32":
        return reason is None and all(tensor.dtype == torch.float32 for tensor in model.packed_from()[1])
    if reason is not None:
        raise ValueError(f"{where}: weights = {weights!r} {reason}; expected 'float32' for this model")
    return True


def _why_not(model: Any) -> str | None:
    """Say why the core does not run a model; None where it does: one that packs, on the CPU, as it was built."""
    kind = type(model).__name__
    if not getattr(model, "packs", False):
        return f"of a {kind}"
    for change in changes(model):
        if change.attribute not in _HARMLESS:
            return f"of a {kind}" + (f", where {change.words}" if type(model) is class_below(type(model)) else "")
    if calls_are_watched():
        return f"of a {kind}, whose calls a hook or mode of torch's watches"
    for tensor in model.packed_from()[1]:
        if tensor.device.type != "cpu" or not tensor.is_floating_point():
            return f"of a {kind} that has {tensor.dtype} on {tensor.device}"
    return None


def packed(model: Any, weights: str) -> Any:
    """Return the packed model, made anew whenever something that it depends on has changed since the last call."""
    settings, tensors = model.packed_from()
    return kept(model, weights, (settings, content_of(tensors)), lambda: model.packed(weights))

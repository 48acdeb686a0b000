"""Building models by name."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .._util.did_you_mean import unknown_name
from .._util.numbers import plain
from .model_types import MODELS

if TYPE_CHECKING:
    from .base import LatentVectorModel


def model_names() -> list[str]:
    """Return the names that `create_model` knows."""
    return MODELS.names()


def model_class(name: str) -> type[LatentVectorModel]:
    """Return the class behind a name. Raises ValueError listing the names there are."""
    kind: type[LatentVectorModel] = MODELS.load(name)
    return kind


def size_names(name: str) -> list[str]:
    """Return the constructor arguments of a model. Raises ValueError listing the models there are."""
    return list(inspect.signature(model_class(name)).parameters)


def check_arguments(name: str, sizes: Iterable[str]) -> None:
    """Raise ValueError, which suggests the nearest, for an unknown model or argument; ``d_model`` is `input_dim`."""
    known = size_names(name)
    for given in sizes:
        if given not in known and given not in ("d_model", "space"):
            raise ValueError(unknown_name(f"{MODELS.current_name(name)} argument", given, known))


def create_model(name: str, **sizes: Any) -> LatentVectorModel:
    """Build a model with fresh weights.

    Args:
        name: A name from `model_names`, such as "memory_gru".
        **sizes: Constructor arguments; the reference's sizes unless given. ``d_model`` is accepted for ``input_dim``.
            ``space`` is a `Space` that the model reads and predicts in, or the facts of one that will be loaded.

    Returns:
        The model, on the CPU, in training mode. Called with contexts (B, N, D) it returns deltas (B, D).

    Raises:
        ValueError: The name or an argument is unknown (the nearest one is suggested), or a size is not positive.

    Example:
        >>> import torch
        >>> model = create_model("memory_gru", input_dim=16, hidden_dim=8, num_layers=1, memory_slots=4)
        >>> model.predict(torch.ones(2, 5, 16)).shape
        torch.Size([2, 16])
    """
    from ..spaces.space import Space  # which brings in numpy

    check_arguments(name, sizes)
    sizes = {size: value if isinstance(value, Space) else plain(value) for size, value in sizes.items()}
    if "d_model" in sizes:
        d_model = sizes.pop("d_model")
        if sizes.setdefault("input_dim", d_model) != d_model:
            raise ValueError(
                f"{name}: d_model = {d_model} and input_dim = {sizes['input_dim']} are the same size; give one"
            )
    space = sizes.pop("space", None)
    if space is None or not isinstance(space, Space):
        return model_class(name).from_config({**sizes, "space": space})
    model = model_class(name)(**sizes)
    model.set_space(space)
    return model

"""Maps vectors into a model's space, and a query back out, in plain torch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...models.base import LatentVectorModel
from ...models.space_map import USUAL
from .layers import Layers, unit

Wide = NDArray[np.float64]

_MEAN, _SPREAD, _USUAL = "space.mean", "space.spread", "space.usual"
INTO, BACK = "space.into", "space.back"  # a matrix and its diagonal each
# held in float32 whatever the precision
SPACE_WIDE = frozenset({_MEAN, _SPREAD, _USUAL, f"{INTO}.diagonal", f"{BACK}.diagonal"})


def space_constants(model: LatentVectorModel, pull: Wide | None) -> dict[str, NDArray[np.float32]]:
    """Return the constants of a model's space by name, those of a Core ML package; none where it has no space.

    ``space.into`` maps vectors without the mean into the space, ``space.back`` maps queries out of it, by way of the
    keys where the model adapts these; where both are the same there is only ``space.into``. A matrix is stored without
    its diagonal, which is large, beside it: so the rest keeps its digits in float16 and int8.

    Args:
        model: The model.
        pull: (D, D), what its keys as it adapts them make of a query; None where it leaves them as they are.
    """
    if model.space is None:
        return {}
    mean = _wide(model.space.mean)
    spread = math.sqrt(max(0.0, 1.0 - float(mean @ mean)))
    parts = {_MEAN: mean, _SPREAD: np.array([spread]), _USUAL: USUAL * mean}
    folded = {name: part.astype(np.float32) for name, part in parts.items()}
    into = None if model.space.matrix is None else _wide(model.space.matrix)
    if into is not None:
        folded |= _apart(INTO, into)
    if pull is not None and not np.array_equal(pull, np.eye(len(pull))):
        folded |= _apart(BACK, pull if into is None else pull @ into)
    return folded


class SpaceLayers:
    """Maps into a space and back, in float32 but for the products with matrices, which are in the precision.

    Args:
        layers: What holds its constants, from `space_constants`.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def into(self, vectors: Tensor) -> Tensor:
        """Map vectors of the encoder (..., D) to unit vectors of the space, float32; the mean becomes zeros."""
        centred = unit(unit(vectors) - self._layers[_MEAN])
        return unit(self._product(centred, INTO)) if self._has(INTO) else centred

    def back(self, query: Tensor) -> Tensor:
        """Map a unit query in the space (B, D) to the unit vector of the encoder's own space, float32."""
        way = next(filter(self._has, (BACK, INTO)), None)
        direction = unit(query if way is None else self._product(query, way))
        return unit(direction * self._layers[_SPREAD] + self._layers[_USUAL])

    def _has(self, name: str) -> bool:
        return f"{name}.matrix" in self._layers

    def _product(self, rows: Tensor, name: str) -> Tensor:
        rest = self._layers.narrow(rows) @ self._layers[f"{name}.matrix"]
        return rows * self._layers[f"{name}.diagonal"] + rest.float()


def _apart(name: str, matrix: Wide) -> dict[str, NDArray[np.float32]]:
    diagonal = np.diag(matrix)
    rest = matrix - np.diag(diagonal)
    return {f"{name}.diagonal": diagonal.astype(np.float32), f"{name}.matrix": rest.astype(np.float32)}


def _wide(tensor: Any) -> Wide:
    numbers: Wide = tensor.detach().double().cpu().numpy()
    return numbers

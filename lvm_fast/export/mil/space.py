"""Maps vectors into a model's space, and queries back out of it, as MIL operations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...models.base import LatentVectorModel
from ...models.space_map import USUAL
from ..coremltools_compat import mb
from .layers import Layers, Variable, cast, unit

Float64Array = NDArray[np.float64]

_MEAN, _SPREAD, _USUAL = "space.mean", "space.spread", "space.usual"
_INTO, _BACK = "space.into", "space.back"  # a matrix and its diagonal each
# stored in float32 whatever the precision
FLOAT32_CONSTANTS = frozenset({_MEAN, _SPREAD, _USUAL, f"{_INTO}.diagonal", f"{_BACK}.diagonal"})


def space_constants(model: LatentVectorModel, key_adjoint: Float64Array | None) -> dict[str, NDArray[np.float32]]:
    """Return the constants of a model's space by name; none where it has no space.

    ``space.into`` maps vectors without the mean into the space. ``space.back`` maps queries out of it, with the model's
    map of the keys where it has one; without, it would equal ``space.into`` and is left out. Both are matrices for row
    vectors, computed in float64. The diagonal of a matrix is large, so it is stored beside the rest, which then keeps
    its digits in float16 and int8. ``space.spread`` (1,) and ``space.usual`` (D,) are the factor and the summand of
    `SpaceMap.back`.

    Args:
        model: The model.
        key_adjoint: See `ModelProgram.key_adjoint`.
    """
    if model.space is None:
        return {}
    mean = _float64(model.space.mean)
    spread = math.sqrt(max(0.0, 1.0 - float(mean @ mean)))
    parts = {_MEAN: mean, _SPREAD: np.array([spread]), _USUAL: USUAL * mean}
    folded = {name: part.astype(np.float32) for name, part in parts.items()}
    into = None if model.space.matrix is None else _float64(model.space.matrix)
    if into is not None:
        folded |= _without_diagonal(_INTO, into)
    if key_adjoint is not None and not np.array_equal(key_adjoint, np.eye(len(key_adjoint))):
        folded |= _without_diagonal(_BACK, key_adjoint if into is None else key_adjoint @ into)
    return folded


class SpaceLayers:
    """Adds the maps of a model's space: in float32, but products with matrices are in the precision.

    Args:
        layers: Layers with the constants of `space_constants`.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def into(self, vectors: Variable) -> Variable:
        """Map the encoder's vectors (..., D) to unit vectors of the space (..., D), float32; the mean becomes zeros."""
        centred = unit(mb.sub(x=unit(vectors), y=self._layers.constant(_MEAN)))
        return unit(self._product(centred, _INTO)) if self._has(_INTO) else centred

    def back(self, query: Variable) -> Variable:
        """Map unit queries in the space (B, D) to unit vectors of the encoder's own space, float32."""
        way = next(filter(self._has, (_BACK, _INTO)), None)
        direction = unit(query if way is None else self._product(query, way))
        weighed = mb.mul(x=direction, y=self._layers.constant(_SPREAD))
        return unit(mb.add(x=weighed, y=self._layers.constant(_USUAL)))

    def _has(self, name: str) -> bool:
        return self._layers.has(f"{name}.matrix")

    def _product(self, rows: Variable, name: str) -> Variable:
        matrix = self._layers.matrix(f"{name}.matrix", instead="int8")  # palettes lose too many digits
        rest = cast(mb.matmul(x=self._layers.to_precision(rows), y=matrix), "float32")
        return mb.add(x=mb.mul(x=rows, y=self._layers.constant(f"{name}.diagonal")), y=rest)


def _without_diagonal(name: str, matrix: Float64Array) -> dict[str, NDArray[np.float32]]:
    diagonal = np.diag(matrix)
    rest = matrix - np.diag(diagonal)
    return {f"{name}.diagonal": diagonal.astype(np.float32), f"{name}.matrix": rest.astype(np.float32)}


def _float64(tensor: Any) -> Float64Array:
    numbers: Float64Array = tensor.detach().double().cpu().numpy()
    return numbers

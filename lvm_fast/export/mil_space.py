"""A model's space as MIL operations: vectors into it, and a query back out."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.base import LatentVectorModel
from .mil_layers import Layers, Variable, cast, unit
from .toolkit import mb

Wide = NDArray[np.float64]

_MEAN, _INTO, _BACK = "space.mean", "space.into", "space.back"  # the last two: a matrix and its diagonal each
WIDE = frozenset({_MEAN, f"{_INTO}.diagonal", f"{_BACK}.diagonal"})  # held in float32 whatever the precision


def space_constants(model: LatentVectorModel, pull: Wide | None) -> dict[str, NDArray[np.float32]]:
    """The constants of a model's space by name; none where it has no space.

    The matrices are those of row vectors, worked out in float64: ``space.into`` maps vectors without the mean into the
    space, ``space.back`` maps queries out of it, by way of the keys where the model adapts these. Where both are the
    same there is only ``space.into``. A matrix is stored without its diagonal, which is large, beside it: so the rest
    keeps its digits in float16 and int8.

    Args:
        model: The model.
        pull: (D, D), what its keys as it adapts them make of a query; None where it leaves them as they are.
    """
    if model.space is None:
        return {}
    folded = {_MEAN: _wide(model.space.mean).astype(np.float32)}
    into = None if model.space.matrix is None else _wide(model.space.matrix)
    if into is not None:
        folded |= _apart(_INTO, into)
    if pull is not None and not np.array_equal(pull, np.eye(len(pull))):
        folded |= _apart(_BACK, pull if into is None else pull @ into)
    return folded


class SpaceLayers:
    """The maps of a model's space, in float32 but for the products with matrices, which are in the precision.

    Args:
        layers: What holds its constants, from `space_constants`.
    """

    def __init__(self, layers: Layers) -> None:
        self._layers = layers

    def into(self, vectors: Variable) -> Variable:
        """Vectors of the encoder (..., D) -> unit vectors of the space (..., D), float32; the mean becomes zeros."""
        centred = unit(mb.sub(x=vectors, y=self._layers.constant(_MEAN)))
        return unit(self._product(centred, _INTO)) if self._has(_INTO) else centred

    def back(self, query: Variable) -> Variable:
        """A unit query in the space (B, D) -> the unit vector of the encoder's own space, float32."""
        for name in (_BACK, _INTO):
            if self._has(name):
                return unit(self._product(query, name))
        return unit(query)

    def _has(self, name: str) -> bool:
        return self._layers.has(f"{name}.matrix")

    def _product(self, rows: Variable, name: str) -> Variable:
        matrix = self._layers.matrix(f"{name}.matrix", most="int8")  # palettes lose what tells vectors apart
        rest = cast(mb.matmul(x=self._layers.narrow(rows), y=matrix), "float32")
        return mb.add(x=mb.mul(x=rows, y=self._layers.constant(f"{name}.diagonal")), y=rest)


def _apart(name: str, matrix: Wide) -> dict[str, NDArray[np.float32]]:
    diagonal = np.diag(matrix)
    rest = matrix - np.diag(diagonal)
    return {f"{name}.diagonal": diagonal.astype(np.float32), f"{name}.matrix": rest.astype(np.float32)}


def _wide(tensor: Any) -> Wide:
    numbers: Wide = tensor.detach().double().cpu().numpy()
    return numbers

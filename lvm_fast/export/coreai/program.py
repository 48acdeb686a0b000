"""Holds what the Core AI programs of all model types share: constants, functions, reconstruction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.base import LatentVectorModel
from ...models.hubness import corrected_query
from ..compression import Stored, compress
from .layers import Layers, unit
from .space import BACK, INTO, SPACE_WIDE, SpaceLayers, Wide, space_constants
from .states import State

Model = TypeVar("Model", bound=LatentVectorModel)
PRECISIONS = {"float16": torch.float16, "float32": torch.float32}


class ProgramOptions(NamedTuple):
    """The form of a program.

    Attributes:
        precision: "float16" or "float32", what the functions compute in; inputs, outputs and the final reconstruction
            are float32 always.
        compression: How the matrices of products are stored: None, "int8", "palette6" or "palette4".
        scope: What comes before the names of its constants, to tell them from another model's in the same asset.
    """

    precision: str
    compression: str | None = None
    scope: str = ""


class ModelProgram(ABC, Generic[Model]):
    """Computes the functions of one model in plain torch, and holds the constants that they read.

    A model type is a subclass with `read`, and, where it streams, `states` and `push`.

    Args:
        model: The trained model.
        options: How to write it.

    Raises:
        ValueError: A constant is NaN, infinite or too large for the precision.
    """

    float32: ClassVar[frozenset[str]] = frozenset()  # constants that are float32 whatever the precision
    uncompressed: ClassVar[frozenset[str]] = frozenset()  # matrices that are never compressed
    any_length: ClassVar[frozenset[str]] = frozenset()  # constants that `by_length` makes needless
    cannot_stream: ClassVar[str | None] = None  # why the model type has no `step`; None where it has one

    def __init__(self, model: Model, options: ProgramOptions) -> None:
        self.config = model.config
        self.dim = model.input_dim
        self.options = options
        self.precision = PRECISIONS[options.precision]
        folded = {name: array for name, array in self.fold(model).items() if not name.startswith("space.")}
        folded |= space_constants(model, self.pull(model))
        self._wide = folded.keys() & (SPACE_WIDE | self.float32)
        self._folded = folded
        self._compressed: dict[str, Stored] = {}
        self._has_space = model.space is not None
        self._searches_vectors = model.searches_vectors
        self._is_corrected = model.hubness is not None
        for name, array in folded.items():
            largest, held_in = np.abs(array).max(), self._held_in(name)
            if not largest <= np.finfo(held_in).max:
                raise ValueError(f"export_coreai: {name} holds {largest:g}; expected at most the largest {held_in}")

    def exact(self, length: int | None) -> dict[str, NDArray[np.float32]]:
        """Return the constants of a function by their names in the asset, before precision and compression.

        Args:
            length: How many vectors it reads; None for any number, and for `step`.
        """
        return {self.options.scope + name: array for name, array in self._constants(length).items()}

    @property
    def float32_names(self) -> frozenset[str]:
        """Return the names in the asset of the constants that are float32 in every precision."""
        return frozenset(self.options.scope + name for name in self._wide)

    def stored(self, length: int | None) -> dict[str, Stored]:
        """Return the constants of a function as an asset stores them, by the names that layers know; see `exact`."""
        return {name: self._stored(name, array) for name, array in self._constants(length).items()}

    def _constants(self, length: int | None) -> dict[str, NDArray[np.float32]]:
        if length is None:
            return self._folded
        known = self.by_length(length)
        others = {name: array for name, array in self._folded.items() if not (known and name in self.any_length)}
        return others | {f"{name}_{length}": array for name, array in known.items()}

    def _stored(self, name: str, array: NDArray[np.float32]) -> Stored:
        if name not in self._folded:
            return array.astype(self.options.precision)
        if name not in self._compressed:  # once for all functions
            self._compressed[name] = compress(array, self._compression_of(name), self._held_in(name))
        return self._compressed[name]

    def _held_in(self, name: str) -> str:
        return "float32" if name in self._wide else self.options.precision

    def _compression_of(self, name: str) -> str | None:
        if self.options.compression is None or name in self._wide or name in self.uncompressed:
            return None
        in_space = name in (f"{INTO}.matrix", f"{BACK}.matrix")
        return "int8" if in_space else self.options.compression  # palettes lose what tells vectors apart

    def fold(self, model: Model) -> dict[str, NDArray[np.float32]]:
        """Return the constants of the program: the model's tensors by name, but for what is worked out beforehand.

        What belongs to its space is left out, whatever is given here.
        """
        return arrays(model.state_dict())

    def pull(self, model: Model) -> Wide | None:
        """Return what keys make of a query where the model adapts them, (D, D) for row vectors; None where not."""
        return None

    def by_length(self, length: int) -> dict[str, NDArray[np.float32]]:
        """Return what is worked out beforehand for contexts of a length N; `read` finds it under ``<name>_N``."""
        return {}

    @abstractmethod
    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """Return the raw delta after a context, (B, N, D) -> (B, D), in the precision of the layers or in float32."""

    def states(self) -> dict[str, State]:
        """Return the states that `push` keeps between calls, by name."""
        raise NotImplementedError

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """Return the raw delta after one more vector (1, D), and the states after it; see `read`."""
        raise NotImplementedError

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of what `predict` and `step` give."""
        return ("next_vector", "delta", "query") if self._has_space else ("next_vector", "delta")

    def predict(self, layers: Layers, context: Tensor) -> tuple[Tensor, ...]:
        """Compute ``predict``: (B, N, D) -> ``next_vector``, ``delta`` and, in a space, ``query``, (B, D) or (B, K)."""
        mapped = self._mapped(layers, context)
        return self._reconstructed(layers, mapped[:, -1], self.read(layers, mapped))

    def step(self, layers: Layers, vector: Tensor, *kept: Tensor) -> tuple[Tensor, ...]:
        """Compute ``step``: (1, D) -> what `predict` gives; the states, as they are kept, change in place."""
        mapped = self._mapped(layers, vector)
        states = self.states().values()
        before = [state.read(tensor) for state, tensor in zip(states, kept, strict=True)]
        raw, after = self.push(layers, mapped, before)
        for state, tensor, value in zip(states, kept, after, strict=True):
            tensor.copy_(state.written(value))
        return self._reconstructed(layers, mapped, raw)

    def _mapped(self, layers: Layers, vectors: Tensor) -> Tensor:
        """Return what the model reads of the encoder's vectors (..., D)."""
        return SpaceLayers(layers).into(vectors) if self._has_space else vectors

    def _reconstructed(self, layers: Layers, current: Tensor, raw: Tensor) -> tuple[Tensor, ...]:
        """Return the `outputs` for the last vector (B, D) and the raw delta (B, D)."""
        delta = unit(raw) if self.config["normalize_delta"] else raw.float()
        moved = current + delta
        answer = moved / (torch.linalg.vector_norm(moved, dim=-1, keepdim=True) + 1e-8)
        if not self._has_space:
            return answer, delta
        outside = SpaceLayers(layers).back(answer)
        query = outside.clone() if self._searches_vectors else answer
        return outside, delta, corrected_query(query) if self._is_corrected else query


def arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Return tensors as numpy arrays, float32."""
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}


Program = ModelProgram[Any]

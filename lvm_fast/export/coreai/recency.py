"""Exports recency models: the last vectors, and decayed means of all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...models.recency import RecencyModel
from ...models.recency_mixer import RecencyMixer
from ...models.recency_residual import RecencyResidual
from ...models.whitened_recency import WhitenedRecency
from ..state_layout import GROUP
from .layers import Layers, unit
from .program import ModelProgram, ProgramOptions
from .space import Wide
from .states import State

Model = TypeVar("Model", bound=RecencyModel)


class RecencyProgram(ModelProgram[Model]):
    """One product of each vector's shares with the vectors, and a head; a model type is a subclass with `head`.

    A stream keeps decayed means in float32: the mean of thousands of vectors moves by less than float16 can tell.
    """

    float32 = any_length = frozenset({"decays"})  # powers are taken of them

    def __init__(self, model: Model, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._taps, self._decays = model.taps, len(model.decays)
        self._exact_decays = [float(np.float32(decay)) for decay in model.decays]

    def fold(self, model: Model) -> dict[str, NDArray[np.float32]]:
        """Return the model's tensors, its decays, (E, 1), and its mix, where it has one, as (1, 1, K)."""
        folded = {**super().fold(model), "decays": np.array(model.decays, np.float32)[:, None]}
        return folded | ({"mix": folded["mix"][None, None]} if "mix" in folded else {})

    @abstractmethod
    def head(self, layers: Layers, features: Tensor) -> Tensor:
        """Return the raw delta (B, D) for K = T + E features of width D, the last vector first, (B, K, D)."""

    def by_length(self, length: int) -> dict[str, NDArray[np.float32]]:
        """Return the share of each of N vectors in each feature, (1, K, N)."""
        with torch.no_grad():
            shares = self._shares(torch.tensor(self._exact_decays, dtype=torch.float64)[:, None], length)
        return {"shares": shares[None].float().numpy()}

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        steps = context.shape[1]
        known = f"shares_{steps}" if isinstance(steps, int) else ""
        shares = layers[known] if known in layers else layers.narrow(self._shares(layers["decays"], steps))
        return self.head(layers, shares @ layers.narrow(context))

    def _shares(self, decays: Tensor, steps: int) -> Tensor:
        """Return the shares for decays (E, 1): (K, N), in their dtype."""
        ages = steps - 1 - torch.arange(steps)  # (N,), 0 for the last vector
        taken = torch.arange(self._taps)[:, None] == ages  # (T, N)
        weights = decays ** ages.to(decays.dtype)  # (E, N)
        return torch.cat((taken.to(decays.dtype), weights / weights.sum(dim=1, keepdim=True)))

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`; the sums of the means' weights stand in every place of a group."""
        return {
            "taps": State((1, self._taps, self.dim)),
            "means": State((1, self._decays, self.dim), torch.float32),
            "weights": State((1, self._decays, GROUP), torch.float32),
        }

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        taps, means, weights = states
        row = vector[:, None]  # (1, 1, D)
        taps = torch.cat((layers.narrow(row), taps[:, :-1]), dim=1)
        weights = weights * layers["decays"] + 1
        means = means + (row - means) / weights[..., :1]
        return self.head(layers, torch.cat((taps, layers.narrow(means)), dim=1)), [taps, means, weights]


class RecencyMixerProgram(RecencyProgram[RecencyMixer]):
    """A recency mixer: a linear map of the features and a network beside it."""

    def head(self, layers: Layers, features: Tensor) -> Tensor:
        """See `RecencyProgram.head`."""
        flat = features.flatten(1)
        inner = F.gelu(layers.dense(layers.layer_norm(flat, "network.0"), "network.2"))
        raw = (layers["mix"] @ features)[:, 0] + layers.dense(flat, "linear.1") + layers.dense(inner, "network.5")
        return raw - features[:, 0]


class WhitenedRecencyProgram(RecencyProgram[WhitenedRecency]):
    """A whitened_recency: the mean."""

    def head(self, layers: Layers, features: Tensor) -> Tensor:
        """See `RecencyProgram.head`: the mean without the last vector."""
        return features[:, 1] - features[:, 0]


class RecencyResidualProgram(RecencyProgram[RecencyResidual]):
    """A recency_residual; what it makes of keys is in the bank, and in the way back."""

    def fold(self, model: RecencyResidual) -> dict[str, NDArray[np.float32]]:
        """See `RecencyProgram.fold`; the maps of the keys are left out."""
        return {name: array for name, array in super().fold(model).items() if not name.startswith("key_")}

    def pull(self, model: RecencyResidual) -> Wide:
        """See `ModelProgram.pull`: a query meets ``z + P R z`` as ``q + R' P' q`` meets z."""
        up, down = (part.weight.detach().double().cpu().numpy() for part in (model.key_up, model.key_down))
        pulled: Wide = np.eye(model.input_dim) + up @ down
        return pulled

    def head(self, layers: Layers, features: Tensor) -> Tensor:
        """See `RecencyProgram.head`; lengths and sums are float32, products in the precision."""
        units = layers.narrow(unit(features))  # (B, K, D)
        base = unit((layers["mix"] @ units)[:, 0])  # (B, D)
        rest = layers.dense(units.flatten(1) @ layers["query_down.weight"].T, "query_up")
        return unit(base + rest.float()) - features[:, 0].float()

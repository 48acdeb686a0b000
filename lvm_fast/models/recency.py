"""The features that recency models read: the last vectors, and decayed means of all vectors so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from .._util.numbers import plain, real_number
from .answering import place_of
from .causal import CausalModel


class Recent(NamedTuple):
    """The state of a stream of B sequences.

    Attributes:
        taps: The last T vectors, the newest first, zeros before the first: (B, T, D).
        sums: The decayed sum of all vectors by decay, (B, E, D).
        weights: The sum of the decayed sum's weights, (E,).
    """

    taps: Tensor
    sums: Tensor
    weights: Tensor


class RecencyModel(CausalModel):
    """A causal model whose hidden state is K = T + E features of width D, a flat row of K * D.

    These are the last T vectors, and for each of E decays d the mean of all vectors so far, weighted by d^age.
    """

    @property
    def taps(self) -> int:
        """The number T of last vectors."""
        count: int = self.config["taps"]
        return count

    @property
    def decays(self) -> list[float]:
        """The E decays."""
        numbers: list[float] = self.config["decays"]
        return numbers

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the features after every vector, (B, N, K * D). See `CausalModel.hidden`."""
        steps = torch.arange(context.shape[1], device=context.device)
        weights = self._feature_weights(steps[:, None] - steps).to(context)  # (K, N, N)
        mixed = weights.transpose(0, 1).flatten(0, 1) @ context  # (B, N * K, D): as features lie, no copy
        return mixed.view(*context.shape[:2], -1)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the features after each context's last vector, (B, K * D). See `CausalModel.last_hidden`."""
        steps = torch.arange(context.shape[1], device=context.device)
        last = steps[-1:, None] if lengths is None else lengths.to(context.device)[:, None] - 1  # (1 or B, 1)
        weights = self._feature_weights(last - steps).to(context)  # (K, 1 or B, N)
        return (weights.transpose(0, 1) @ context).flatten(1)

    def features(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., K * D) -> features (..., K, D)."""
        return hidden.view(*hidden.shape[:-1], -1, self.input_dim)

    def start_steps(self, batch_size: int) -> Recent:
        """Nothing read yet."""
        device, dtype = place_of(self)
        taps = torch.zeros(batch_size, self.taps, self.input_dim, device=device, dtype=dtype)
        weights = torch.zeros_like(self._decays())
        return Recent(taps, weights.new_zeros(batch_size, len(weights), self.input_dim), weights)

    def next_hidden(self, state: Recent, vector: Tensor) -> tuple[Tensor, Recent]:
        """See `CausalModel.next_hidden`."""
        decays = self._decays()
        taps = torch.cat((vector[:, None], state.taps[:, :-1]), dim=1)
        sums, weights = state.sums * decays[:, None] + vector[:, None], state.weights * decays + 1.0
        hidden = torch.cat((taps, (sums / weights[:, None]).to(taps)), dim=1).flatten(1)
        return hidden, Recent(taps, sums, weights)

    def _feature_weights(self, ages: Tensor) -> Tensor:
        """Weigh vectors of these ages (..., N), whole numbers, in each feature: (K, ..., N); 0 before age 0."""
        taps = torch.arange(self.taps, device=ages.device)
        taken = ages == taps.view(-1, *[1] * ages.ndim)  # (T, ..., N)
        weights = self._decays().view(-1, *[1] * ages.ndim) ** ages.clamp(min=0) * (ages >= 0)  # (E, ..., N)
        return torch.cat((taken.to(weights), weights / weights.sum(dim=-1, keepdim=True)))

    def _decays(self) -> Tensor:
        """Return the decays, (E,); float32 in bfloat16 and float16 models, too, where long sums would stand still."""
        device, dtype = place_of(self)
        exact = torch.promote_types(dtype, torch.float32)
        return torch.tensor(self.decays, dtype=exact, device=device)


def checked_decays(model_type: str, decays: Any) -> list[float]:
    """Decays as plain numbers. Raises ValueError unless each is above 0 and at most 1."""
    given = decays.tolist() if isinstance(decays, np.ndarray) else decays
    try:
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ValueError
        checked = [real_number(decay, "decays", 0, 1) for decay in given]
    except ValueError:
        checked = [0.0]
    if not all(checked):
        raise ValueError(f"{model_type}: decays = {plain(given)!r}; expected numbers above 0 and at most 1")
    return checked


def checked_decay(model_type: str, decay: Any) -> float:
    """Return one decay as a plain number. Raises ValueError unless it is above 0 and at most 1."""
    try:
        (checked,) = checked_decays(model_type, [decay])
    except ValueError:
        expected = "expected a number above 0 and at most 1"
        raise ValueError(f"{model_type}: decay = {plain(decay)!r}; {expected}") from None
    return checked

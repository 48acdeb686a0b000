"""Causal models: hidden states that know only the vectors so far, and the delta that each of them gives."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from .._util.numbers import truth_value
from .base import LatentVectorModel
from .checks import check_fraction, check_sizes, configured
from .recurrence import last_valid


class CausalModel(LatentVectorModel):
    """A model in two parts: a hidden state after each vector, and the raw delta that a hidden state gives.

    An architecture says what these are (`hidden`, `raw_delta`), and how one more vector leads from what it keeps of a
    sequence to the next hidden state (`start_steps`, `next_hidden`).

    Args:
        sizes: Constructor arguments that are counts, `input_dim` among them.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
        **fractions: Constructor arguments from 0 to 1, such as dropout.

    Raises:
        ValueError: A size is not an integer of at least 1, or a fraction is not from 0 to 1.
    """

    normalize_delta: bool = configured("normalize_delta", truth_value)

    def __init__(self, sizes: dict[str, int], normalize_delta: bool, **fractions: float) -> None:
        config: dict[str, Any] = {**check_sizes(self.model_type, **sizes)}
        config |= {name: check_fraction(self.model_type, name, fraction) for name, fraction in fractions.items()}
        super().__init__(config)
        self.normalize_delta = normalize_delta

    @abstractmethod
    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the hidden state after every vector: (B, N, D), lengths (B,) or None for N -> (B, N, H)."""

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """Return the hidden state after each context's last vector: (B, N, D), lengths (B,) or None for N -> (B, H)."""
        return last_valid(self.hidden(context, lengths), lengths)

    @abstractmethod
    def next_hidden(self, state: Any, vector: Tensor) -> tuple[Tensor, Any]:
        """Return the hidden states (B, H) after one more vector (B, D), and a stream's next state; see `advance`."""

    @abstractmethod
    def raw_delta(self, hidden: Tensor) -> Tensor:
        """Hidden states (..., H) -> deltas of any length (..., D)."""

    def delta_of(self, raw: Tensor) -> Tensor:
        """Raw deltas (..., D) -> deltas (..., D), of length 1 unless the model was told otherwise."""
        return F.normalize(raw, dim=-1) if self.normalize_delta else raw

    def forward(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict deltas: context (B, N, D), lengths (B,) -> (B, D). See `LatentVectorModel.forward`."""
        self.check_context(context, lengths)
        final = self.last_hidden(context, lengths)  # (B, H)
        raw = self.raw_delta(final)  # (B, D)
        if self.training:
            self.write_memory(final, raw)
        return self.delta_of(raw)

    def deltas(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict the delta after every position: (B, N, D), lengths (B,) -> (B, N, D); `LatentVectorModel.deltas`."""
        self.check_context(context, lengths)
        hidden = self.hidden(context, lengths)  # (B, N, H)
        raw = self.raw_delta(hidden)  # (B, N, D)
        if self.training:
            self.write_memory(last_valid(hidden, lengths), last_valid(raw, lengths))
        return self.delta_of(raw)

    def advance(self, state: Any, vector: Tensor) -> tuple[Tensor, Any]:
        """Read one more vector of each sequence. See `LatentVectorModel.advance`."""
        hidden, moved = self.next_hidden(state, vector)
        return self.delta_of(self.raw_delta(hidden)), moved

    @classmethod
    def can_stream(cls) -> bool:
        """Return whether `next_hidden` is a step of `forward`: no class below its own makes states in another way."""
        home = _home(cls, "next_hidden")
        return all(issubclass(home, _home(cls, name)) for name in ("forward", "hidden", "last_hidden"))

    def write_memory(self, final: Tensor, raw: Tensor) -> None:
        """In training, what each context's last position (B, H) says, (B, D); a model without a memory ignores it."""


def _home(kind: type, name: str) -> type:
    """Return the class that a class has an attribute from."""
    return next(each for each in kind.__mro__ if name in vars(each))

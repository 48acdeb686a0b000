"""All that InfoNCE tells the right answers of a step from, put together for the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...ops.rowwise import l2_normalize
from ..objectives.loss import Negatives
from ..recipe import Recipe
from .hard_negatives import OwnNegatives
from .shared_candidates import shared_candidates


class WrongAnswers:
    """What predictions share and what each has of its own: `begin` a step, `of` each micro-batch, `end` it.

    Args:
        recipe: The settings of InfoNCE.
        device: Where the vectors go.
        dtype: What products of training take, float32 or bfloat16.
        own: Soft and hard negatives, if any.
    """

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype, own: OwnNegatives | None) -> None:
        self._device, self._own = device, own
        self._shared = shared_candidates(recipe, device, dtype)

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """Make ready for a step with these targets, rows of the store."""
        if self._shared is not None:
            self._shared.begin(store, targets)

    def of(self, targets: Int64, vectors: Tensor) -> Negatives | None:
        """Return the wrong answers to some of the step's targets (B,), with vectors (B, D); None for plain InfoNCE."""
        if self._shared is None and self._own is None:
            return None
        shared = (None, None) if self._shared is None else self._shared.of(targets, l2_normalize(vectors))
        if self._own is None:
            return Negatives(*shared)
        return Negatives(*shared, *(torch.from_numpy(array).to(self._device) for array in self._own.of(targets)))

    def end(self, targets: Int64) -> None:
        """Note that the step with these targets is done."""
        if self._shared is not None:
            self._shared.end(targets)

    def state(self) -> dict[str, Any]:
        """What steps leave for later ones, for a checkpoint."""
        kept = {"shared": self._shared, "own": self._own}
        return {name: source.state() for name, source in kept.items() if source is not None}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; one of before these settings has nothing to say."""
        if self._shared is not None:
            self._shared.load_state(state.get("shared", {}))
        if self._own is not None:
            self._own.load_state(state.get("own", {}))

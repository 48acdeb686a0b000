"""All that InfoNCE tells the right answers of a step from, put together for the loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...ops.rowwise import l2_normalize
from ..objectives import Negatives
from .hard_negatives import HardNegatives
from .shared_candidates import SharedCandidates


class StepNegatives:
    """The shared candidates and the hard negatives: `begin` a step, `for_targets` each micro-batch, `end` it.

    Args:
        device: Where the vectors go.
        shared: Candidates of all predictions; None where a micro-batch keeps to its own targets.
        hard: Wrong answers of each prediction, if any.
    """

    def __init__(self, device: torch.device, shared: SharedCandidates | None, hard: HardNegatives | None) -> None:
        self._device, self._shared, self._hard = device, shared, hard

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """Make ready for a step with these targets, rows of the store."""
        if self._shared is not None:
            self._shared.begin(store, targets)

    def for_targets(self, targets: Int64, vectors: Tensor) -> Negatives | None:
        """Return the wrong answers to some of the step's targets (B,), with vectors (B, D); None for plain InfoNCE."""
        if self._shared is None and self._hard is None:
            return None
        negatives = Negatives()
        if self._shared is not None:
            shared, masked = self._shared.for_targets(targets, l2_normalize(vectors))
            negatives = negatives._replace(shared=shared, masked=masked)
        if self._hard is not None:
            hard, is_there = (torch.from_numpy(array).to(self._device) for array in self._hard.for_targets(targets))
            negatives = negatives._replace(hard=hard, is_there=is_there)
        return negatives

    def end(self, targets: Int64) -> None:
        """Note that the step with these targets is done."""
        if self._shared is not None:
            self._shared.end(targets)

    def state(self) -> dict[str, Any]:
        """Return what steps leave for later ones, for a checkpoint."""
        kept = {"shared": self._shared, "own": self._hard}  # the names in checkpoints
        return {name: source.state() for name, source in kept.items() if source is not None}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint; one of before these settings has nothing to say."""
        if self._shared is not None:
            self._shared.load_state(state.get("shared", {}))
        if self._hard is not None:
            self._hard.load_state(state.get("own", {}))

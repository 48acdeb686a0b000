"""Wrong answers that all predictions of an optimiser step share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ..recipe import Recipe
from . import SHARED
from .loading import load_class


class SharedCandidates(ABC):
    """The candidates of one step after the other: `begin`, `of` for each micro-batch, `end`.

    Args:
        recipe: The settings of InfoNCE.
        device: Where the vectors go.
        dtype: What products of training take, float32 or bfloat16.
    """

    @abstractmethod
    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None: ...

    @abstractmethod
    def begin(self, store: ChainStore, targets: Int64) -> None:
        """Gather the candidates of a step with these targets, rows of the store."""

    @abstractmethod
    def of(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit candidates (C, D), and the pairs (2, K) that do not count: right answers, near-copies,
        and with the recipe's `infonce_unread` what the chain has said before.

        Args:
            targets: Some of the step's targets (B,).
            wanted: Their unit vectors (B, D), on the device.
        """

    def end(self, targets: Int64) -> None:  # noqa: B027 - most keep nothing
        """Note that the step with these targets is done."""

    def state(self) -> dict[str, Any]:
        """What is kept from step to step, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Go on from a checkpoint."""


def read_chunks(store: ChainStore, targets: Int64, candidates: Int64) -> tuple[Int64, Int64]:
    """Which candidates each target's chain has said before it.

    Args:
        store: The training store.
        targets: Rows of it (B,).
        candidates: Rows of it, ascending (C,).

    Returns:
        Places in `targets` and in `candidates`, a pair for each that cannot come next, (K,) each.
    """
    starts = store.offsets[np.searchsorted(store.offsets, targets, side="right") - 1]
    firsts, ends = np.searchsorted(candidates, starts), np.searchsorted(candidates, targets)
    counts = ends - firsts
    places = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(firsts, counts)
    return np.repeat(np.arange(len(targets)), counts), places


def shared_candidates(recipe: Recipe, device: torch.device, dtype: torch.dtype) -> SharedCandidates | None:
    """Make what `infonce_batch` names; None where every micro-batch keeps to its own targets."""
    if recipe.alpha_infonce == 0.0 or recipe.infonce_batch == "micro":
        return None
    made: SharedCandidates = load_class(SHARED[recipe.infonce_batch])(recipe, device, dtype)
    return made

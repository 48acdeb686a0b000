"""Candidates of InfoNCE that all predictions of a step share: the step's targets, or every training chunk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...ops.infonce import near_copies
from ...ops.rowwise import l2_normalize
from ...retrieval.bank import VectorBank
from ...retrieval.near_duplicates import ALIKE, near_copies_in
from ..negative_sources import MORE_CANDIDATES, SHARED_CANDIDATES
from ..recipe_sections import NegativesSection


class SharedCandidates(ABC):
    """The candidates of one step after the other: `begin`, `for_targets` for each micro-batch, `end`.

    Args:
        recipe: Which candidates there are.
        device: Where the vectors go.
        dtype: What products of training take, float32 or bfloat16.
    """

    @abstractmethod
    def __init__(self, recipe: NegativesSection, device: torch.device, dtype: torch.dtype) -> None: ...

    @abstractmethod
    def begin(self, store: ChainStore, targets: Int64) -> None:
        """Gather the candidates of a step with these targets, rows of the store."""

    @abstractmethod
    def for_targets(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """Return the unit candidates (C, D), and the pairs (2, K) that do not count.

        Those are right answers and near-copies of them, and with the recipe's `infonce_unread` what the chain has said
        before.

        Args:
            targets: Some of the step's targets (B,).
            wanted: Their unit vectors (B, D), on the device.
        """

    def end(self, targets: Int64) -> None:  # noqa: B027 - most keep nothing
        """Note that the step with these targets is done."""

    def state(self) -> dict[str, Any]:
        """Return what is kept from step to step, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Go on from a checkpoint."""


class StepTargets(SharedCandidates):
    """Every chunk that is a target of the effective batch, in the queue, or drawn at random; each counts once.

    They are data, not outputs of the model, and the loss of a prediction depends on no other prediction. So what
    GradCache (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021) needs two
    forward passes for is exact in one: each micro-batch meets all candidates as it goes by, and its graph is free
    before the next.
    """

    def __init__(self, recipe: NegativesSection, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._leaves_out_read = device, recipe.infonce_unread
        sizes = {name: getattr(recipe, name) for name in MORE_CANDIDATES}
        self._more = {name: MORE_CANDIDATES.load(name)(size, recipe.seed) for name, size in sizes.items() if size}

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """See `SharedCandidates.begin`."""
        more = [source.rows(len(store.vectors)) for source in self._more.values()]
        self._store, self._rows = store, np.unique(np.concatenate([targets, *more]))
        self._vectors = l2_normalize(torch.from_numpy(store.vectors[self._rows]).to(self._device))  # (C, D)

    def for_targets(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `SharedCandidates.for_targets`."""
        pairs = near_copies(wanted, self._vectors, ALIKE)
        if self._leaves_out_read:
            read = np.stack(read_chunks(self._store, targets, self._rows))
            pairs = torch.cat((pairs, torch.from_numpy(read).to(pairs)), dim=1)
        return self._vectors, pairs

    def end(self, targets: Int64) -> None:
        """See `SharedCandidates.end`."""
        for source in self._more.values():
            source.end(targets)

    def state(self) -> dict[str, Any]:
        """See `SharedCandidates.state`."""
        return {name: source.state() for name, source in self._more.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `SharedCandidates.load_state`."""
        for name, source in self._more.items():
            source.load_state(state[name])


class WholeBank(SharedCandidates):
    """All training chunks: one copy of them on the device, in the dtype of its products.

    The near-copies of a target never change, so each target is looked up once, exactly, when it first comes.
    """

    def __init__(self, recipe: NegativesSection, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype, self._leaves_out_read = device, dtype, recipe.infonce_unread
        self._store: ChainStore | None = None

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """See `SharedCandidates.begin`."""
        if store is not self._store:
            self._store = store
            self._bank = VectorBank(store.vectors, normalize=True)
            rows = torch.from_numpy(np.array(store.vectors, np.float32)).to(self._device)
            self._vectors = l2_normalize(rows, out=rows).to(self._dtype)  # (T, D)
            self._copies: dict[int, Int64] = {}
        unknown = [row for row in targets.tolist() if row not in self._copies]
        self._copies |= dict(zip(unknown, near_copies_in(self._bank, store.vectors[unknown]), strict=True))

    def for_targets(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `SharedCandidates.for_targets`."""
        copies = [self._copies[row] for row in targets.tolist()]
        rows = np.repeat(np.arange(len(copies)), [len(ids) for ids in copies])
        pairs = np.stack([rows, np.concatenate(copies)])  # (2, K)
        if self._leaves_out_read and self._store is not None:
            everything = np.arange(len(self._store.vectors))
            pairs = np.concatenate([pairs, np.stack(read_chunks(self._store, targets, everything))], axis=1)
        return self._vectors, torch.from_numpy(pairs).to(self._device)


def read_chunks(store: ChainStore, targets: Int64, candidates: Int64) -> tuple[Int64, Int64]:
    """Find the candidates that each target's chain has said before it.

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


def shared_candidates(recipe: NegativesSection, device: torch.device, dtype: torch.dtype) -> SharedCandidates:
    """Make what `infonce_batch` names, which is not "micro": there every micro-batch keeps to its own targets."""
    made: SharedCandidates = SHARED_CANDIDATES.load(recipe.infonce_batch)(recipe, device, dtype)
    return made

"""The targets of the whole optimiser step, and what the recipe adds to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...ops.rowwise import l2_normalize
from ...retrieval.near_duplicates import ALIKE
from ..objectives.infonce import near_copies
from ..recipe import Recipe
from . import MORE
from .loading import load_class
from .shared_candidates import SharedCandidates, read_chunks


class StepTargets(SharedCandidates):
    """Every chunk that is a target of the effective batch, in the queue, or drawn at random; each counts once.

    They are data, not outputs of the model, and the loss of a prediction depends on no other prediction. So what
    GradCache (Gao et al., Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup, 2021) needs two
    forward passes for is exact in one: each micro-batch meets all candidates as it goes by, and its graph is free
    before the next.
    """

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._leaves_out_read = device, recipe.infonce_unread
        sizes = {setting: getattr(recipe, setting) for setting in MORE}
        self._more = {name: load_class(MORE[name])(size, recipe.seed) for name, size in sizes.items() if size}

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """See `SharedCandidates.begin`."""
        more = [source.rows(len(store.vectors)) for source in self._more.values()]
        self._store, self._rows = store, np.unique(np.concatenate([targets, *more]))
        self._vectors = l2_normalize(torch.from_numpy(store.vectors[self._rows]).to(self._device))

    def of(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `SharedCandidates.of`."""
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

"""Every chunk of the training store."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...data.chain_store import ChainStore
from ...data.number_formats import Int64
from ...ops.rowwise import l2_normalize
from ...retrieval.bank import VectorBank
from ...retrieval.near_duplicates import near_copies_in
from ..recipe import Recipe
from .shared_candidates import SharedCandidates, read_chunks


class WholeBank(SharedCandidates):
    """All chunks are candidates of every prediction: one copy of them on the device, in the dtype of its products.

    The near-copies of a target never change, so each target is looked up once, exactly, when it first comes.
    """

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype, self._leaves_out_read = device, dtype, recipe.infonce_unread
        self._store: ChainStore | None = None

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """See `SharedCandidates.begin`."""
        if store is not self._store:
            self._store = store
            self._bank = VectorBank(store.vectors, normalize=True)
            rows = torch.from_numpy(np.array(store.vectors, np.float32)).to(self._device)
            self._vectors = l2_normalize(rows, out=rows).to(self._dtype)
            self._copies: dict[int, Int64] = {}
        unknown = [row for row in targets.tolist() if row not in self._copies]
        self._copies |= dict(zip(unknown, near_copies_in(self._bank, store.vectors[unknown]), strict=True))

    def of(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `SharedCandidates.of`."""
        copies = [self._copies[row] for row in targets.tolist()]
        rows = np.repeat(np.arange(len(copies)), [len(ids) for ids in copies])
        pairs = np.stack([rows, np.concatenate(copies)])
        if self._leaves_out_read and self._store is not None:
            everything = np.arange(len(self._store.vectors))
            pairs = np.concatenate([pairs, np.stack(read_chunks(self._store, targets, everything))], axis=1)
        return self._vectors, torch.from_numpy(pairs).to(self._device)

"""Every chunk of the training store."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...data.quantize import Int64
from ...data.split import ALIKE
from ...data.store import ChainStore
from ...kernels import l2_normalize
from ...scoring import VectorBank
from ..recipe import Recipe
from .shared import SharedCandidates

_FEW_COPIES = 16  # near-copies asked for at first


class WholeBank(SharedCandidates):
    """All chunks are candidates of every prediction: one copy of them on the device, in the dtype of its products.

    The near-copies of a target never change, so each target is looked up once, exactly, when it first comes.
    """

    def __init__(self, recipe: Recipe, device: torch.device, dtype: torch.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._store: ChainStore | None = None

    def begin(self, store: ChainStore, targets: Int64) -> None:
        """See `SharedCandidates.begin`."""
        if store is not self._store:
            self._store = store
            self._bank = VectorBank(store.vectors, normalize=True)
            rows = torch.from_numpy(np.array(store.vectors, np.float32)).to(self._device)
            self._vectors = l2_normalize(rows, out=rows).to(self._dtype)
            self._copies: dict[int, Int64] = {}
        self._look_up(store, np.array([row for row in targets.tolist() if row not in self._copies], np.int64))

    def of(self, targets: Int64, wanted: Tensor) -> tuple[Tensor, Tensor]:
        """See `SharedCandidates.of`."""
        copies = [self._copies[row] for row in targets.tolist()]
        rows = np.repeat(np.arange(len(copies)), [len(ids) for ids in copies])
        return self._vectors, torch.from_numpy(np.stack([rows, np.concatenate(copies)])).to(self._device)

    def _look_up(self, store: ChainStore, rows: Int64) -> None:
        """Note the near-copies of these rows, themselves among them; ask again for those that may have more."""
        limit = _FEW_COPIES
        while len(rows):
            limit = min(limit, len(self._bank))
            found = self._bank.band(store.vectors[rows], ALIKE, np.inf, limit)  # (R, limit)
            whole = (found[:, -1] < 0) | (limit == len(self._bank))
            self._copies |= {row: ids[ids >= 0] for row, ids in zip(rows[whole].tolist(), found[whole], strict=True)}
            rows, limit = rows[~whole], 16 * limit

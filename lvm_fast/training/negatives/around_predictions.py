"""Negatives mined around what the model predicts now, again every few epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ...data.number_formats import Float32, Int64
from ...data.windows import Windows
from ...ops.rowwise import l2_normalize
from ...retrieval.bank import VectorBank
from ...retrieval.mining import excluded_rows
from ...retrieval.near_duplicates import ALIKE
from ..load_data import TrainingData
from ..recipe import Recipe
from .hard_negatives import MARGIN, Kind, OwnNegatives, first_ids

if TYPE_CHECKING:
    from ..learner import Learner


class AroundPredictions(OwnNegatives):
    """Training chunks whose cosine with the model's prediction lies in the band, best first.

    False negatives are left out: chunks of the same chain near the target, near-copies of it, and chunks with a cosine
    of `MARGIN` times the right answer's or more.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        super().__init__(recipe, data)
        self._bank = VectorBank(self.store.vectors, normalize=True)

    def start_epoch(self, learner: Learner, windows: Windows, epoch: int) -> bool:
        """See `OwnNegatives.start_epoch`."""
        if (epoch - 1) % self.recipe.negatives_refresh:
            return False
        found = {kind.name: np.zeros_like(self.no_ids()) for kind in self.kinds}  # ids + 1, so that processes can add
        for first in learner.processes.share(range(0, len(windows), self.recipe.batch_size)):
            chosen = np.arange(first, min(first + self.recipe.batch_size, len(windows)))
            targets, predicted = windows.target_rows(chosen), learner.predict(windows, chosen)
            for kind in self.kinds:
                found[kind.name][targets] = self._around(predicted, targets, kind) + 1
        sums = {name: torch.from_numpy(table).to(learner.device) for name, table in found.items()}
        learner.processes.add_up(sums.values())
        self.tables = {name: table.cpu().numpy() - 1 for name, table in sums.items()}
        self.count_each_once()
        return True

    def _around(self, predicted: Float32, targets: Int64, kind: Kind) -> Int64:
        """Ids (P, limit) for unit predictions (P, D)."""
        limit = self.recipe.negatives_limit
        ids = self._bank.band(
            predicted,
            kind.low,
            kind.high,
            limit,
            exclude=excluded_rows(self.store, targets, self.recipe.negatives_exclude_within),
            below=MARGIN * self._bank.pair_scores(predicted, targets),
        )
        right = l2_normalize(self.vectors[targets])  # (P, D)
        found = l2_normalize(self.vectors[ids.ravel()]).reshape(*ids.shape, -1)  # padding gives the last row
        return first_ids(ids, (ids >= 0) & (np.einsum("pd,pmd->pm", right, found) < ALIKE), limit)

    def state(self) -> dict[str, Any]:
        """See `OwnNegatives.state`."""
        return {name: torch.from_numpy(table) for name, table in self.tables.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `OwnNegatives.load_state`."""
        self.tables = {name: state[name].numpy() for name in self.tables}

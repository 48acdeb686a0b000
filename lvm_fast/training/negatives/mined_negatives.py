"""Hard negatives mined from the training chunks: around the right answers, or around the model's predictions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...data.number_formats import Float32, Int64
from ...data.windows import Windows
from ...ops.rowwise import l2_normalize
from ...retrieval.bank import VectorBank
from ...retrieval.mined import MinedNegatives
from ...retrieval.mining import excluded_rows, mine
from ...retrieval.near_duplicates import ALIKE
from ..distributed import DistributedContext
from ..load_data import TrainingData
from ..recipe_sections import NegativesSection
from .hard_negatives import HardNegatives, Kind, Predictor, first_ids

MARGIN = 0.95  # a mined negative scores below this share of the right answer (Moreira et al., NV-Retriever, 2024)


class AroundTargets(HardNegatives):
    """Training chunks whose cosine with the right answer lies in the band, best first.

    They never change: they are mined once and kept in the run's folder. False negatives are left out: chunks of the
    same chain near the target, and those with a cosine of `MARGIN` or more (the right answer's own is 1), near-copies
    among them.
    """

    def __init__(self, recipe: NegativesSection, data: TrainingData) -> None:
        super().__init__(recipe, data)
        for kind in self.kinds:
            if kind.low >= MARGIN:
                expected = f"cosines below {MARGIN}: what is nearer to the right answer may be right too"
                raise ValueError(f"train: {kind.name}_negative_cosine_range begins at {kind.low}; expected {expected}")

    def prepare(self, folder: Path, distributed: DistributedContext) -> None:
        """See `HardNegatives.prepare`."""
        for kind in self.kinds:
            path = folder / f"{kind.name}_negatives.safetensors"
            distributed.on_rank_zero(self._mine, path, kind)
            self.tables[kind.name] = MinedNegatives.open(path, self.store).ids
        self.count_each_once()

    def _mine(self, path: Path, kind: Kind) -> None:
        settings: dict[str, Any] = {
            "low": kind.low,
            "high": min(kind.high, MARGIN),
            "limit": self.recipe.negatives_limit,
            "exclude_within": self.recipe.negatives_exclude_within,
        }
        if not (path.exists() and settings.items() <= MinedNegatives.open(path, self.store).settings.items()):
            mine(self.store, path, overwrite=True, **settings)


class AroundPredictions(HardNegatives):
    """Training chunks whose cosine with the model's prediction lies in the band, best first.

    The model changes, so they are mined again every few epochs. False negatives are left out: chunks of the same chain
    near the target, near-copies of it, and chunks with a cosine of `MARGIN` times the right answer's or more.
    """

    def __init__(self, recipe: NegativesSection, data: TrainingData) -> None:
        super().__init__(recipe, data)
        self._bank = VectorBank(self.store.vectors, normalize=True)

    def start_epoch(self, predictor: Predictor, windows: Windows, epoch: int) -> bool:
        """See `HardNegatives.start_epoch`."""
        if (epoch - 1) % self.recipe.negatives_refresh:
            return False
        # ids + 1, so that a sum over the processes puts the rows of all together
        mined = {kind.name: np.zeros_like(self.no_ids()) for kind in self.kinds}
        for first in predictor.distributed.shard(range(0, len(windows), predictor.batch_size)):
            chosen = np.arange(first, min(first + predictor.batch_size, len(windows)))
            targets, predicted = windows.target_rows(chosen), predictor.predict(windows, chosen)
            for kind in self.kinds:
                mined[kind.name][targets] = self._around(predicted, targets, kind) + 1
        sums = {name: torch.from_numpy(table).to(predictor.device) for name, table in mined.items()}
        predictor.distributed.all_reduce_sum(sums.values())
        self.tables = {name: table.cpu().numpy() - 1 for name, table in sums.items()}
        self.count_each_once()
        return True

    def _around(self, predicted: Float32, targets: Int64, kind: Kind) -> Int64:
        """Mine ids (P, limit) for unit predictions (P, D)."""
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
        candidates = l2_normalize(self.vectors[ids.ravel()]).reshape(*ids.shape, -1)  # padding gives the last row
        is_new = np.einsum("pd,pmd->pm", right, candidates) < ALIKE
        return first_ids(ids, (ids >= 0) & is_new, limit)

    def state(self) -> dict[str, Any]:
        """See `HardNegatives.state`."""
        return {name: torch.from_numpy(table) for name, table in self.tables.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `HardNegatives.load_state`."""
        self.tables = {name: state[name].numpy() for name in self.tables}

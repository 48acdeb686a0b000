"""Negatives mined around the right answers: they never change, so they are mined once and kept in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...retrieval.mined import MinedNegatives
from ...retrieval.mining import mine
from ..load_data import TrainingData
from ..recipe import Recipe
from .hard_negatives import MARGIN, Kind, OwnNegatives

if TYPE_CHECKING:
    from ..distributed import Processes


class AroundTargets(OwnNegatives):
    """Training chunks whose cosine with the right answer lies in the band, best first.

    False negatives are left out: chunks of the same chain near the target, and those with a cosine of `MARGIN` or more
    (the right answer's own is 1), near-copies among them.
    """

    def __init__(self, recipe: Recipe, data: TrainingData) -> None:
        super().__init__(recipe, data)
        for kind in self.kinds:
            if kind.low >= MARGIN:
                expected = f"cosines below {MARGIN}: what is nearer to the right answer may be right too"
                raise ValueError(f"train: {kind.name}_negative_cosine_range begins at {kind.low}; expected {expected}")

    def prepare(self, folder: Path, processes: Processes) -> None:
        """See `OwnNegatives.prepare`."""
        for kind in self.kinds:
            path = folder / f"{kind.name}_negatives.safetensors"
            processes.on_first(self._mine, path, kind)
            self.tables[kind.name] = MinedNegatives.open(path, self.store).ids
        self.count_each_once()

    def _mine(self, path: Path, kind: Kind) -> None:
        asked: dict[str, Any] = {
            "low": kind.low,
            "high": min(kind.high, MARGIN),
            "limit": self.recipe.negatives_limit,
            "exclude_within": self.recipe.negatives_exclude_within,
        }
        if not (path.exists() and asked.items() <= MinedNegatives.open(path, self.store).settings.items()):
            mine(self.store, path, overwrite=True, **asked)

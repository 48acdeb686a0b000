"""Hard negatives: for each prediction, wrong answers that are close to the right one. The base of their sources.

A recipe asks for two kinds, "soft" and "hard", which are two bands of cosine.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from ...data.chain_store import ChainStore
from ...data.number_formats import Float32, Int64
from ...data.windows import Windows
from ...ops.rowwise import l2_normalize
from ..distributed import DistributedContext
from ..load_data import TrainingData
from ..negative_sources import HARD_NEGATIVES, source_of
from ..recipe_sections import NegativesSection

if TYPE_CHECKING:
    import torch


class Kind(NamedTuple):
    """Soft or hard negatives, and the band of cosines they lie in: low <= cosine < high."""

    name: str
    low: float
    high: float


class Predictor(Protocol):
    """Predicts the targets of windows: what a source of negatives needs of the learner.

    Attributes:
        device: Where it works.
        batch_size: Windows a forward pass.
        distributed: The processes that share its work.
    """

    @property
    def device(self) -> torch.device: ...

    @property
    def batch_size(self) -> int: ...

    @property
    def distributed(self) -> DistributedContext: ...

    def predict(self, windows: Windows, chosen: Int64) -> Float32:
        """Return the unit predictions of the targets of these windows (P, D)."""


class HardNegatives:
    """A table of wrong answers: for each chunk of the training store, those that count where it is the right answer.

    Args:
        recipe: Kinds, bands and limit.
        data: The training windows and the data they are part of.

    Attributes:
        kinds: The kinds asked for, hard ones first.
        store: The training store, T chunks.
        vectors: What the tables point into: the store's own rows unless a source brings others.
        tables: By kind, rows of `vectors` (T, limit), int64, padded with -1.
    """

    def __init__(self, recipe: NegativesSection, data: TrainingData) -> None:
        bands = {
            "hard": (recipe.enable_hard_negatives, recipe.hard_negative_cosine_range),
            "soft": (recipe.enable_soft_negatives, recipe.soft_negative_cosine_range),
        }
        self.kinds = [Kind(name, *band) for name, (enabled, band) in bands.items() if enabled]
        self.recipe, self.store = recipe, data.training.store
        self.vectors: Any = self.store.vectors
        self.tables = {kind.name: self.no_ids() for kind in self.kinds}

    def no_ids(self) -> Int64:
        """Return a table without entries."""
        return np.full((len(self.store.vectors), self.recipe.negatives_limit), -1)

    def prepare(self, folder: Path, distributed: DistributedContext) -> None:
        """Do what takes the folder of the run; called by all processes together."""

    def start_epoch(self, predictor: Predictor, windows: Windows, epoch: int) -> bool:
        """Mine again where that is due; return whether there is news. Called by all processes together."""
        return epoch == 1

    def for_targets(self, targets: Int64) -> tuple[Float32, npt.NDArray[np.bool_]]:
        """Return the unit wrong answers of these targets (P, M, D), and which of them are there (P, M)."""
        ids = np.concatenate([table[targets] for table in self.tables.values()], axis=1)  # (P, M)
        is_there = ids >= 0
        vectors = l2_normalize(self.vectors[np.where(is_there, ids, 0).ravel()])
        return vectors.reshape(*ids.shape, -1), is_there

    def count_each_once(self) -> None:
        """Leave a chunk that is both a hard and a soft negative of the same target to the hard ones."""
        if len(self.tables) == 2:
            soft = self.tables["soft"] = np.array(self.tables["soft"])
            for column in self.tables["hard"].T:
                soft[soft == column[:, None]] = -1

    def describe(self) -> str:
        """Say in a line how many there are."""
        is_there = {kind: table >= 0 for kind, table in self.tables.items()}
        counts = [f"{kind} {there.sum():,} for {there.any(axis=1).sum():,}" for kind, there in is_there.items()]
        return f"negatives: {', '.join(counts)} of {len(self.store.vectors):,} chunks, from {self.recipe.negatives}"

    def warn_of_none(self) -> None:
        """Warn of a kind that no chunk has any of: it does nothing, and its settings are to blame."""
        for kind in self.kinds:
            if (self.tables[kind.name] < 0).all():
                band = f"{kind.name}_negative_cosine_range = {kind.low:g} to {kind.high:g}"
                warnings.warn(
                    f"train: negatives = {self.recipe.negatives!r}: no training chunk has {kind.name} negatives; "
                    f"expected some in {band}",
                    stacklevel=2,
                )

    def state(self) -> dict[str, Any]:
        """Return what cannot be made again, for a checkpoint."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""


def hard_negatives(recipe: NegativesSection, data: TrainingData) -> HardNegatives:
    """Make what `negatives` names, or read the file that it names.

    Raises:
        OSError: A file cannot be read.
        ValueError: A file is damaged or does not fit the data; the message names the row or the line.
    """
    made: HardNegatives = HARD_NEGATIVES.load(source_of(recipe.negatives))(recipe, data)
    return made


def first_ids(ids: Int64, wanted: npt.NDArray[np.bool_], limit: int) -> Int64:
    """Return the first `limit` wanted ids of each row, in their order, padded with -1: (R, N) -> (R, limit)."""
    order = np.argsort(~wanted, axis=1, kind="stable")[:, :limit]
    kept = np.take_along_axis(np.where(wanted, ids, -1), order, axis=1)
    return np.pad(kept, ((0, 0), (0, limit - kept.shape[1])), constant_values=-1)


def rows_in(whole: ChainStore, part: ChainStore) -> Int64:
    """Return the rows (T,) that the T chunks of a training part have in the data."""
    chains = {name: chain for chain, name in enumerate(whole.ids)}
    starts = whole.offsets[[chains[name] for name in part.ids]]
    return np.arange(len(part.vectors)) + np.repeat(starts - part.offsets[:-1], part.lengths)


def places_of(rows: Int64, count: int) -> Int64:
    """Return the place in `rows` of each of `count` rows, -1 for the others; a last -1 is for the padding -1."""
    places = np.full(count + 1, -1)
    places[rows] = np.arange(len(rows))
    return places

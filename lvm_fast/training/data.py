"""From a recipe's data to training and validation windows."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.positions import AllPositions
from ..data.source import open_source
from ..data.split import split_chains
from ..data.store import ChainStore
from ..data.windows import Windows
from ..evaluation.intervals import clusters_of
from .recipe import Recipe


class TrainingData(NamedTuple):
    """Windows to learn from and windows to validate on, of stores that share no chain.

    Attributes:
        training: Windows of the training part of the data.
        validation: Windows of its held-out part, or of data of their own.
        whole: The data, before it was split.
    """

    training: Windows
    validation: Windows
    whole: ChainStore

    def words(self) -> str:
        """Say in a line what there is, and what was left out."""
        duplicates = self.validation.store.metadata.get("near_duplicates_dropped", 0)
        return (
            f"data: training {_words(self.training)}; validation {_words(self.validation)}; left out: "
            f"{self.training.dropped_incoherent} incoherent training targets, {duplicates} validation near-duplicates"
        )


def load_data(recipe: Recipe) -> TrainingData:
    """Open the stores, read every row once to check it, split by chain, and lay out the windows.

    Validation windows lie within chains and are never dropped for incoherence, so that a score is not flattered.

    Raises:
        OSError: A file cannot be opened.
        ValueError: A file is no chain store, a row is not finite or is zero, or no windows are left.
    """
    store = open_source(recipe.data, "train: data")
    if recipe.validation_data is None:
        training, validation, *_ = split_chains(store, recipe.val_fraction, recipe.seed)
    else:
        training, validation = store, open_source(recipe.validation_data, "train: validation_data")
    if training.dim != validation.dim:
        raise ValueError(f"train: validation_data has {validation.dim} dimensions; expected {training.dim}, as in data")
    length, least = recipe.context_length, recipe.min_length
    training_windows = AllPositions if recipe.objective == "all_positions" else Windows
    return TrainingData(
        training_windows(training, length, recipe.stride, least, recipe.min_coherence, recipe.cross_chains),
        Windows(validation, length, recipe.val_stride, least),
        store,
    )


def _words(windows: Windows) -> str:
    store = windows.store
    chains = len(np.unique(clusters_of(store.ids, windows.chains)))  # the pieces of a cut chain are one, as in reports
    targets = f" with {windows.counts.sum():,} targets" if isinstance(windows, AllPositions) else ""
    return f"{len(windows):,} windows{targets} of {chains:,} chains, {len(store.vectors):,} vectors"

"""Loads a recipe's data, splits it, and lays out training and validation windows."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from ..data.chain_store import ChainStore
from ..data.leakage import leakage
from ..data.positions import AllPositions
from ..data.source import is_sequence_file, open_source
from ..data.split import split_chains
from ..data.windows import GivenWindows, Windows, query_windows
from .recipe_sections import DataSection


class TrainingData(NamedTuple):
    """Windows to learn from and windows to validate on; of stores that share no chain, but for sequence files.

    Attributes:
        training: Windows of the training part of the data.
        validation: Windows of its held-out part, or of data of their own.
        whole: The data, before it was split.
        digest: Its `ChainStore.fingerprint`.
    """

    training: Windows
    validation: Windows
    whole: ChainStore
    digest: str = ""

    def describe(self) -> str:
        """Say in a line what there is, and what was left out."""
        duplicates = self.validation.store.metadata.get("near_duplicates_dropped", 0)
        return (
            f"data: training {_described(self.training)}; validation {_described(self.validation)}; left out: "
            f"{self.training.dropped_incoherent} incoherent training targets, {duplicates} validation near-duplicates"
        )


def load_data(recipe: DataSection, where: str = "train") -> TrainingData:
    """Open the data, read every row to check it and to know it again, split it, and lay out the windows.

    A chain store is split by chain. The windows of a sequence file (.npz) are taken as they are and, as the reference
    does, dealt at random one by one; where training and validation windows then share vectors, a warning counts them.
    Validation windows lie within chains and are never dropped for incoherence, so that a score is not flattered.

    Args:
        recipe: Data, split and windows.
        where: What messages begin with: who opens the data.

    Raises:
        OSError: A file cannot be opened.
        ValueError: A file is of another kind, a row is not finite or is zero, the data is not that of
            `recipe.data_digest`, or no windows are left.
    """
    source = _open(recipe.data, f"{where}: data")
    whole = source.store if isinstance(source, GivenWindows) else source
    digest = checked_digest(whole, recipe, where)
    if recipe.validation_data is not None:
        training, validation = source, _open(recipe.validation_data, f"{where}: validation_data")
    elif isinstance(source, GivenWindows):
        training, validation = _deal(source, recipe, where)
    else:
        training, validation, *_ = split_chains(source, recipe.val_fraction, recipe.seed)
    data = TrainingData(_training_windows(training, recipe), _validation_windows(validation, recipe), whole, digest)
    dim, expected = data.validation.store.dim, data.training.store.dim
    if dim != expected:
        raise ValueError(f"{where}: validation_data has {dim} dimensions; expected {expected}, as in data")
    if isinstance(source, GivenWindows) or recipe.validation_data is not None:
        _warn_of_leakage(data, where)
    return data


def _open(source: Any, name: str) -> ChainStore | GivenWindows:
    return GivenWindows.of_sequences(source) if is_sequence_file(source) else open_source(source, name)


def checked_digest(whole: ChainStore, recipe: DataSection, where: str) -> str:
    """Return the data's `ChainStore.fingerprint`.

    Raises:
        ValueError: It is another than the recipe's `data_digest`.
    """
    digest = whole.fingerprint()
    if recipe.data_digest not in (None, digest):
        raise ValueError(
            f"{where}: data = {str(recipe.data)!r} is other data than this recipe was trained on, or has changed: its "
            f"digest is {digest[:12]}..., data_digest {str(recipe.data_digest)[:12]}...; expected the same data, or no "
            "data_digest"
        )
    return digest


def _deal(windows: GivenWindows, recipe: DataSection, where: str) -> tuple[GivenWindows, GivenWindows]:
    """Draw windows for training and for validation at random."""
    held_out = round(recipe.val_fraction * len(windows))
    if not 0 < held_out < len(windows):
        raise ValueError(
            f"{where}: {len(windows)} windows with val_fraction = {recipe.val_fraction} give {held_out} for "
            "validation; expected at least one on each side"
        )
    order = np.random.default_rng(recipe.seed).permutation(len(windows))
    return windows.part(np.sort(order[held_out:])), windows.part(np.sort(order[:held_out]))


def _training_windows(source: ChainStore | GivenWindows, recipe: DataSection) -> Windows:
    if isinstance(source, GivenWindows):
        return source.part(np.arange(len(source)), recipe.min_coherence)
    return kind_of_windows(recipe)(
        source, recipe.context_length, recipe.stride, recipe.min_length, recipe.min_coherence, recipe.cross_chains
    )


def kind_of_windows(recipe: DataSection) -> type[Windows]:
    """Return the kind of windows that a chain store is trained on."""
    return AllPositions if recipe.objective == "all_positions" else Windows


def _validation_windows(source: ChainStore | GivenWindows, recipe: DataSection) -> Windows:
    if isinstance(source, GivenWindows):
        return source
    return query_windows(source, recipe.context_length, recipe.val_stride, recipe.min_length)


def _warn_of_leakage(data: TrainingData, where: str) -> None:
    leaks = leakage(data.training, data.validation)
    if not leaks.leaking:
        return
    cure = "; `lvm-fast prepare` makes chains of windows, which a split by chain keeps apart"
    cure = cure if isinstance(data.training, GivenWindows) else ""
    warnings.warn(f"{where}: {leaks}, which flatters every score{cure}", stacklevel=3)


def _described(windows: Windows) -> str:
    store = windows.store
    # the pieces of a cut chain are one, as in reports
    chains = len(np.unique(store.documents_of(windows.chains)))
    targets = f" with {windows.counts.sum():,} targets" if isinstance(windows, AllPositions) else ""
    given = f" of {windows.context_length:,} vectors each" if isinstance(windows, GivenWindows) else ""
    return f"{len(windows):,} windows{given}{targets} of {chains:,} chains, {len(store.vectors):,} vectors"

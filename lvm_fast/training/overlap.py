"""Whether a run was trained on what it is asked: two runs compare fairly only where neither has seen the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..data.leakage import covered_rows
from ..data.source import is_sequence_file
from ..data.windows import Windows
from ..scoring import VectorBank
from .data import load_data
from .recipe import Recipe

_SAME = 0.995  # the cosine from which chunks count as the same, as in a split


def trained_share(trained: Recipe, scored: Recipe | None, windows: Windows) -> float | None:
    """The share of the targets that a run's training windows hold, copies and near-copies included.

    Args:
        trained: The run's recipe. Where it splits the same chains in the same way, nothing is read: the split has seen
            to it already.
        scored: The recipe whose validation part the windows are of; None if they are of no such part.
        windows: What the run is asked.

    Returns:
        A fraction of the different targets; None where the run's data cannot be opened any more.
    """
    if scored is not None and _split_by_chain(trained) and _split_of(trained) == _split_of(scored):
        return 0.0
    try:
        training = load_data(trained).training
    except (OSError, ValueError):
        return None
    if training.store.dim != windows.store.dim:
        return 0.0
    bank = VectorBank(training.store.vectors.select(covered_rows(training)), normalize=True)
    scores, _ = bank.topk(windows.store.vectors[np.unique(windows.targets)], 1)
    return float(np.mean(scores[:, 0] >= _SAME))


def _split_by_chain(recipe: Recipe) -> bool:
    return recipe.validation_data is None and not is_sequence_file(recipe.data)


def _split_of(recipe: Recipe) -> tuple[Any, ...]:
    """What decides a split by chain; a path is where it leads."""
    data = str(Path(recipe.data).resolve()) if isinstance(recipe.data, str) else recipe.data
    return data, recipe.validation_data, recipe.val_fraction, recipe.seed

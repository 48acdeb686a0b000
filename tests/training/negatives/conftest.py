"""A store whose chunks are near each other, and recipes with negatives on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from negatives_by_hand import SETTINGS

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.training.load_data import TrainingData, load_data
from lvm_fast.training.recipe import Recipe


@pytest.fixture
def near(rng: np.random.Generator) -> ChainStore:
    """12 chains of 8 to 19 rows of 8 numbers, all round one direction; ten rows of one chain are in another, too."""
    lengths = np.arange(8, 20)
    rows = rng.standard_normal((lengths.sum(), 8)) * 0.55 + np.eye(8)[0]
    rows[-10:] = rows[:10]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return ChainStore(rows.astype(np.float32), offsets, [f"chain {number}" for number in range(12)])


@pytest.fixture
def asked(near: ChainStore, tmp_path: Any) -> Callable[..., Recipe]:
    """Make a recipe with negatives on that store, in ``tmp_path / "run"``."""

    def make(**changes: Any) -> Recipe:
        return Recipe(**{"data": near, "output_dir": str(tmp_path / "run"), **SETTINGS, **changes})

    return make


@pytest.fixture
def data(asked: Callable[..., Recipe]) -> TrainingData:
    return load_data(asked())

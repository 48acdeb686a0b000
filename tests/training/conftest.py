"""A small world with a law: every chain is a point turned by one fixed rotation, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.training.recipe import Recipe

DIM = 16
TINY = {"hidden_dim": 12, "num_layers": 2, "memory_slots": 8}


@pytest.fixture(scope="session")
def store() -> ChainStore:
    """24 chains of 12 to 35 unit vectors."""
    rng = np.random.default_rng(5)
    angles = rng.uniform(0.6, 1.2, DIM // 2)
    basis, _ = np.linalg.qr(rng.standard_normal((DIM, DIM)))
    chains = []
    for length in range(12, 36):
        phases = rng.uniform(0, 2 * np.pi, DIM // 2) + angles * np.arange(length)[:, None]
        pairs = np.stack([np.cos(phases), np.sin(phases)], axis=2).reshape(length, DIM)
        chains.append(pairs @ basis / np.linalg.norm(pairs, axis=1, keepdims=True))
    offsets = np.concatenate([[0], np.cumsum([len(chain) for chain in chains])])
    return ChainStore(np.concatenate(chains).astype(np.float32), offsets)


@pytest.fixture
def recipe(store: ChainStore, tmp_path: Any) -> Callable[..., Recipe]:
    """Make a recipe for a quick run on the small world, in ``tmp_path / "run"``."""

    def make(**changes: Any) -> Recipe:
        settings = {
            "data": store,
            "model": dict(TINY),
            "context_length": 8,
            "stride": 2,
            "val_fraction": 0.25,
            "epochs": 3,
            "batch_size": 8,
            "accumulation_steps": 2,
            "lr": 3e-3,
            "device": "cpu",
            "output_dir": str(tmp_path / "run"),
            "tensorboard": False,
        }
        return Recipe(**{**settings, **changes})

    return make


@pytest.fixture
def bfloat16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in bfloat16 as on a CPU that multiplies it: here torch may emulate it, slowly."""
    monkeypatch.setattr("lvm_fast.training.learner.multiplies_bfloat16", lambda device: True)

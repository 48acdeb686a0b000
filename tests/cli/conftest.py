"""A finished run on small chains of text, for every command to be tried on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf

DIM = 8


def write_store(path: Path, seed: int = 0, chains: int = 24, length: int = 20) -> None:
    """Chains of drifting unit vectors, with the texts of their chunks."""
    rng = np.random.default_rng(seed)
    rows = np.cumsum(rng.standard_normal((chains, length, DIM)), axis=1).reshape(-1, DIM)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    offsets = np.arange(chains + 1) * length
    ids = [f"dokument é {chain}" for chain in range(chains)]
    lf.ChainStore.write(path, rows.astype(np.float32), offsets, ids, {"encoder": "fake", "chunk_tokens": 10})


@pytest.fixture(scope="session")
def finished(tmp_path_factory: Any) -> Path:
    """A folder with chains.safetensors and, trained on it, run/."""
    place: Path = tmp_path_factory.mktemp("finished")
    write_store(place / "chains.safetensors")
    recipe = lf.Recipe(
        data=place / "chains.safetensors",
        model={"hidden_dim": 6, "num_layers": 1, "memory_slots": 4},
        context_length=6,
        epochs=2,
        accumulation_steps=1,
        device="cpu",
        output_dir=str(place / "run"),
        tensorboard=False,
    )
    lf.train(recipe)
    return place

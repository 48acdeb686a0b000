"""Small chains that drift, so that the current chunk says something about the next, and untrained models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.training.fit import train
from lvm_fast.training.recipe import Recipe

DIM = 12


def drifting_store(lengths: list[int], seed: int, ids: list[str] | None = None) -> ChainStore:
    rng = np.random.default_rng(seed)
    chains = []
    for length in lengths:
        steps = rng.standard_normal((length, DIM))
        chain = steps.copy()
        for i in range(1, length):
            chain[i] = 0.7 * chain[i - 1] + 0.7 * steps[i]
        chains.append(chain / np.linalg.norm(chain, axis=1, keepdims=True))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return ChainStore(np.concatenate(chains).astype(np.float32), offsets, ids)


class ZeroDelta(torch.nn.Module):
    """Predicts no change: copy-last, written as a model."""

    model_type = "zero_delta"

    def forward(self, context: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        return torch.zeros(context.shape[0], context.shape[2])


class Momentum(torch.nn.Module):
    """Predicts half of the last step again; reads the lengths, so a wrong padding shows."""

    def forward(self, context: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        rows = torch.arange(len(context))
        return 0.5 * (context[rows, lengths - 1] - context[rows, lengths - 2])


@pytest.fixture
def store() -> ChainStore:
    return drifting_store([40, 9, 25, 60, 6, 31, 12, 50], seed=1)


@pytest.fixture
def distractors() -> ChainStore:
    return drifting_store([90, 110], seed=2)


@pytest.fixture
def one_chain() -> ChainStore:
    return drifting_store([80], seed=3)


@pytest.fixture
def zero_delta() -> torch.nn.Module:
    return ZeroDelta()


@pytest.fixture
def momentum() -> torch.nn.Module:
    return Momentum()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training run; its chains lie beside it in chains.safetensors."""
    place = tmp_path_factory.mktemp("trained")
    data = place / "chains.safetensors"
    drifting_store([30] * 20, seed=4, ids=[f"chain {i}" for i in range(20)]).save(data)
    recipe = Recipe(
        data=str(data),
        model={"hidden_dim": 8, "num_layers": 1, "memory_slots": 4},
        context_length=6,
        val_stride=2,
        val_fraction=0.3,
        epochs=2,
        accumulation_steps=1,
        seed=5,
        device="cpu",
        output_dir=str(place / "run"),
        tensorboard=False,
    )
    train(recipe)
    return place / "run"

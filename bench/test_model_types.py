"""Every model type at the reference's size, context 100: a training step, a prediction, a push."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import model_names

Timed = Callable[..., Any]  # the fixture of conftest.py


@pytest.fixture(params=model_names())
def model(request: pytest.FixtureRequest) -> LatentVectorModel:
    torch.manual_seed(0)
    return lf.create_model(request.param)


def contexts(vectors: np.ndarray, batch: int) -> Tensor:
    return torch.from_numpy(np.stack([vectors[start : start + 100] for start in range(0, batch * 50, 50)]))


@pytest.mark.parametrize("objective", ["last_position", "all_positions"])
def test_training_step(timed: Timed, model: LatentVectorModel, vectors: np.ndarray, objective: str) -> None:
    context, run = contexts(vectors, 16), model if objective == "last_position" else model.deltas
    model.train()

    def step() -> float:
        model.zero_grad()
        loss: Tensor = run(context).square().mean()
        torch.autograd.backward(loss)
        return loss.item()

    group = f"training step, {objective}, context 100, batch 16"
    targets = 16 * (100 if objective == "all_positions" else 1)
    assert timed(group, model.model_type, step, 5, lambda _, median: f"{targets / median:.3g} targets/s") > 0


def test_prediction(timed: Timed, model: LatentVectorModel, vectors: np.ndarray) -> None:
    context = contexts(vectors, 1)
    predicted = timed("prediction, context 100, batch 1", model.model_type, lambda: model.predict(context))
    torch.testing.assert_close(predicted.norm(dim=1), torch.ones(1))


def test_pushes(timed: Timed, model: LatentVectorModel, vectors: np.ndarray) -> None:
    context, stream = contexts(vectors, 1), model.stream()

    def push_all() -> Tensor:
        stream.reset()
        pushed: list[Tensor] = [stream.push(vector) for vector in context[0]]
        return pushed[-1]

    group = "100 pushes of a stream, batch 1"
    pushed = timed(group, model.model_type, push_all, 5, lambda _, median: f"{10 * median:.2f} ms a push")
    torch.testing.assert_close(pushed, model.predict(context), atol=1e-5, rtol=0)

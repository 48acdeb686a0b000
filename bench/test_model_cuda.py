"""memory_gru's training step on a CUDA GPU: eager and compiled, beside the same model on cuDNN in literal torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from test_model import TRAINING, Lesson, Timed
from torch import Tensor

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
PEERS = ["lvm_fast", "lvm_fast, compiled", "cuDNN eager"]  # the compiler refuses torch.nn.GRU


class GpuLesson(Lesson):
    """Trains as `lvm_fast.train` does: memory writes, if any, follow the step."""

    def __init__(self, model: Any, peer: str, vectors: np.ndarray, length: int, batch: int, bf16: bool) -> None:
        super().__init__(model, f"{peer}, bf16" if bf16 else peer, vectors, length, batch, "cuda")
        loss = super().loss
        self.taught: Callable[[], Tensor] = torch.compile(loss, fullgraph=True) if "compiled" in peer else loss

    def loss(self) -> Tensor:
        with self.model.deferred_memory_writes():
            return self.taught()

    def step(self) -> float:
        loss = super().step()
        self.model.commit_memory()
        return loss


@pytest.mark.parametrize("bf16", [False, True], ids=["TF32", "bf16 autocast"])
@pytest.mark.parametrize(("length", "batch"), TRAINING)
@pytest.mark.parametrize("peer", PEERS)
def test_training_step_on_cuda(
    timed: Timed, model: Any, vectors: np.ndarray, peer: str, length: int, batch: int, bf16: bool
) -> None:
    lesson = GpuLesson(model, peer, vectors, length, batch, bf16)
    if length == TRAINING[0].values[0]:
        found, expected = lesson.slope(), GpuLesson(model, "cuDNN eager", vectors, length, batch, False).slope()
        error = ((found - expected).norm() / expected.norm()).item()
        assert error < (0.05 if bf16 else 5e-3), f"{peer}: the gradient is off by {error:.1e}"
    precision = "bf16 autocast" if bf16 else "float32, cuDNN in TF32"
    group = f"training step, memory_gru, context {length}, batch {batch}, {torch.cuda.get_device_name()}, {precision}"
    assert 0 < timed(group, peer, lesson.step, note=lambda _, median: f"{batch / median:,.0f} sequences/s") < 2

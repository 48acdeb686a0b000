"""Training steps of models with torch's recurrent layers, as they are and accelerated; LSTM and GRU by themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from architectures import TASKS, Task
from torch import Tensor, nn

import lvm_fast as lf

Timed = Callable[..., Any]  # the fixture of conftest.py
PEERS = ["lvm_fast", "torch eager"]


def slopes(task: Task) -> list[Tensor]:
    """Gradients without dropout."""
    task.model.eval()
    grads = torch.autograd.grad(task.loss(), list(task.model.parameters()))
    task.model.train()
    return list(grads)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("peer", PEERS)
def test_training_step(timed: Timed, name: str, peer: str) -> None:
    torch.manual_seed(0)
    task = TASKS[name]()
    optimiser = torch.optim.AdamW(task.model.parameters(), lr=1e-3, fused=True)
    expected = slopes(task)
    if peer == "lvm_fast":
        assert lf.accelerate(task.model).swapped
        torch.testing.assert_close(slopes(task), expected, atol=1e-5, rtol=1e-3)

    def step() -> float:
        optimiser.zero_grad()
        loss = task.loss()
        torch.autograd.backward(loss)
        optimiser.step()
        return loss.item()

    assert timed(f"training step, {name}", peer, step, 5) < 100


LAYERS = {
    "LSTM": (nn.LSTM, 4, 1),
    "LSTM, both directions": (nn.LSTM, 4, 2),
    "GRU": (nn.GRU, 3, 1),
    "GRU, both directions": (nn.GRU, 3, 2),
}


@pytest.mark.parametrize("of", ["last step", "every step"])
@pytest.mark.parametrize("peer", PEERS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(timed: Timed, limits: Any, name: str, peer: str, of: str) -> None:
    """Two layers of 512, context 100, batch 32; a loss of the last step alone sends fading gradients back."""
    torch.manual_seed(0)
    kind, gates, ways = LAYERS[name]
    module, x = kind(512, 512, 2, bidirectional=ways == 2), torch.randn(100, 32, 512)
    if peer == "lvm_fast":
        lf.accelerate(module)

    def step() -> float:
        module.zero_grad()
        states = module(x)[0]
        loss = (states if of == "every step" else states[-1]).square().mean()
        torch.autograd.backward(loss)
        return float(loss)

    products = sum(gates * 512 * ((512 if layer == 0 else ways * 512) + 512) for layer in (0, 1)) * ways
    operations = 3 * 2 * products * 3200  # forward, to the inputs, to the weights

    def note(_: Any, median: float) -> str:
        ceiling, rate = limits.fp32_ops(), operations / median
        share = f" = {rate / ceiling / 1e12:.0%} of {ceiling * 1e3:.0f}" if ceiling else ""
        return f"{rate / 1e9:.0f} GFLOP/s{share}"

    group = f"training step, {name}, 2 layers of 512, context 100, batch 32, loss of {of}"
    assert timed(group, peer, step, 5, note) > 0


@pytest.mark.parametrize("peer", ["lvm_fast", "lvm_fast, int8 weights", "torch eager"])
@pytest.mark.parametrize("model_type", ["gru", "lstm"])
def test_thousand_streams(timed: Timed, model_type: str, peer: str) -> None:
    """One vector of each of a thousand streams."""
    torch.manual_seed(0)
    model = lf.create_model(model_type).eval()
    vectors = torch.randn(1000, model.input_dim)
    group, note = f"a push of 1000 streams, {model_type}", lambda _, median: f"{1000 / median:,.0f} pushes/s"
    if peer == "torch eager":
        state = model.start_steps(1000)

        def step() -> Tensor:
            with torch.no_grad():
                delta: Tensor = model.advance(state, vectors)[0]
            return delta

        assert timed(group, peer, step, 5, note).shape == (1000, 768)
        return
    stream = model.stream(1000, "int8" if "int8" in peer else "float32")
    assert timed(group, peer, lambda: stream.push(vectors), 5, note).shape == (1000, 768)

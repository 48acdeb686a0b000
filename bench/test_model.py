"""memory_gru at the reference's size: training steps, predictions and pushes beside the same model in literal torch."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peak_memory import peak_megabytes
from torch import Tensor, nn

import lvm_fast as lf

Timed = Callable[..., Any]  # the fixture of conftest.py


class LiteralMemoryGRU(nn.Module):
    """Runs the reference's forward pass in plain torch: the memory's content is concatenated to every step."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model: Any = model
        ours = model.gru
        self.gru = nn.GRU(ours.input_size, ours.hidden_size, ours.num_layers, batch_first=True, dropout=ours.dropout)
        self.gru.load_state_dict(ours.state_dict())

    def train(self, mode: bool = True) -> LiteralMemoryGRU:
        super().train(mode)
        self.gru.train()  # cuDNN gives no gradients in evaluation mode
        self.gru.dropout = self.model.gru.dropout if mode else 0.0
        return self

    def read(self, query: Tensor) -> Tensor:
        memory = self.model.memory
        scores = torch.cosine_similarity(memory.query_proj(query)[:, None], memory.memory[None], dim=-1)
        read: Tensor = scores.softmax(dim=-1) @ memory.memory
        return read

    def forward(self, context: Tensor) -> Tensor:
        batch, steps, _ = context.shape
        model = self.model
        content = self.read(context.new_zeros(batch, self.gru.hidden_size))
        inputs = torch.cat([model.input_norm(context), content[:, None].expand(-1, steps, -1)], dim=-1)
        state = self.gru(inputs)[0][:, -1]
        raw = model.output_proj(model.fusion(torch.cat([state, self.read(state)], dim=-1)))
        return nn.functional.normalize(raw, dim=-1)


def contexts(vectors: np.ndarray, batch: int, length: int) -> Tensor:
    return torch.from_numpy(np.stack([vectors[start : start + length] for start in range(0, batch * 50, 50)]))


PEERS = ["lvm_fast", "torch eager", "lvm_fast, bf16 autocast", "torch eager, bf16 autocast"]
TRAINING = [  # context, batch
    pytest.param(100, 32),
    pytest.param(500, 16, marks=pytest.mark.long),
    pytest.param(1000, 8, marks=pytest.mark.long),
]


class Lesson:
    """Trains a model on real contexts and the vectors that followed them."""

    def __init__(
        self, model: Any, peer: str, vectors: np.ndarray, length: int, batch: int, device: str = "cpu"
    ) -> None:
        self.model = copy.deepcopy(model)
        self.subject: Any = self.model if peer.startswith("lvm_fast") else LiteralMemoryGRU(self.model)
        self.subject.to(device)
        self.batch = contexts(vectors, batch, length).to(device)
        self.target = torch.from_numpy(vectors[length : length + 50 * batch : 50]).to(device)
        self.bf16 = "bf16" in peer
        self.optimiser = torch.optim.AdamW(self.subject.parameters(), lr=1e-4, fused=True)

    def loss(self) -> Tensor:
        with torch.autocast(self.batch.device.type, torch.bfloat16, enabled=self.bf16):
            delta = self.subject(self.batch)
        cosines: Tensor = (lf.reconstruct(self.batch[:, -1], delta.float()) * self.target).sum(dim=-1)
        return 1 - cosines.mean()

    def slope(self) -> Tensor:
        """Return the gradient without dropout and memory writes, which is the same for all peers."""
        self.subject.zero_grad()
        self.subject.eval()
        torch.autograd.backward(self.loss())
        self.subject.train()
        return torch.cat([parameter.grad.flatten() for parameter in self.subject.gru.parameters()])

    def step(self) -> float:
        self.optimiser.zero_grad()
        loss = self.loss()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.subject.parameters(), 1.0)
        self.optimiser.step()
        return loss.item()


def note_of_training(model: Any, limits: Any, bf16: bool, length: int, batch: int) -> Callable[[Any, float], str]:
    """Sequences a second, and arithmetic beside the ceiling of the unit that does it."""
    dim, hidden, layers = (model.config[name] for name in ("input_dim", "hidden_dim", "num_layers"))
    weights = 3 * hidden * (dim + hidden + (layers - 1) * 2 * hidden)  # the memory's part of the input folded
    operations = 3 * 2 * weights * length * batch  # forward, to the inputs, to the weights
    level = lf.kernels.simd_level()
    bf16_unit = "TILES_BF16" if level == "amx" else "VECTORS_BF16"

    def note(_: Any, median: float) -> str:
        ceiling, rate = limits.ops(bf16_unit) if bf16 else limits.fp32_ops(level), operations / median
        share = f" = {rate / ceiling / 1e12:.0%} of {ceiling * 1e3:.0f}" if ceiling else ""
        return f"{batch / median:.3g} sequences/s; {rate / 1e9:.0f} GFLOP/s{share}"

    return note


@pytest.mark.parametrize(("length", "batch"), TRAINING)
@pytest.mark.parametrize("peer", PEERS)
def test_training_step(
    timed: Timed, limits: Any, model: Any, vectors: np.ndarray, peer: str, length: int, batch: int
) -> None:
    lesson = Lesson(model, peer, vectors, length, batch)
    if length == TRAINING[0].values[0]:
        found, expected = lesson.slope(), Lesson(model, "torch eager", vectors, length, batch).slope()
        error = ((found - expected).norm() / expected.norm()).item()
        assert error < (0.05 if lesson.bf16 else 1e-3), f"{peer}: the gradient is off by {error:.1e}"
    group = f"training step, memory_gru, context {length}, batch {batch}"
    rounds = 1 if peer.startswith("torch") and length > 100 else 5
    note = note_of_training(model, limits, lesson.bf16, length, batch)
    assert 0 < timed(group, peer, lesson.step, rounds=rounds, note=note) < 2


LESSON = """
import sys
import numpy as np, torch
import lvm_fast as lf
sys.path.insert(0, {folder!r})
from test_model import Lesson

torch.set_num_threads(lf.kernels.num_threads())
vectors = np.random.default_rng(0).standard_normal((3000, 768), dtype=np.float32)
lesson = Lesson(lf.create_model("memory_gru"), {peer!r}, vectors, 1000, 32)
lesson.subject.gru.recompute = {recompute}
"""


@pytest.mark.long
@pytest.mark.parametrize("peer", [*PEERS[:1], PEERS[2], f"{PEERS[2]}, recompute", PEERS[1]])
def test_training_memory(timed: Timed, peer: str) -> None:
    before = LESSON.format(folder=str(Path(__file__).parent), peer=peer, recompute="recompute" in peer)
    measure = partial(peak_megabytes, before, "lesson.step()")
    group = "peak memory of a training step, memory_gru, context 1000, batch 32"
    assert timed(group, peer, measure, 1, value=lambda mb: (mb, f"{mb:,.0f} MB")) > 0


PREDICTORS = {  # precision, and the largest difference from float32 that is allowed, as a length
    "lvm_fast": ("float32", 1e-5),
    "lvm_fast, bf16 weights": ("bfloat16", 0.01),
    "lvm_fast, int8 weights": ("int8", 0.02),
    "torch eager": ("float32", 1e-5),
    "torch eager, bf16 autocast": ("bfloat16", 0.02),
}


def eager(literal: nn.Module, context: Tensor, precision: str = "float32") -> Tensor:
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        return nn.functional.normalize(context[:, -1] + literal(context).float(), dim=-1)


def check_against(expected: Tensor, allowed: float, result: Tensor) -> str:
    error = float((result - expected).norm())
    assert error < allowed
    return f"off by {error:.0e}"


def weights_of_a_step(model: Any) -> int:
    """Count the weights that one step reads, with the memory's reads folded as `lvm_fast.inference.packed` does."""
    dim, hidden, layers, slots = (model.config[k] for k in ("input_dim", "hidden_dim", "num_layers", "memory_slots"))
    recurrent = 3 * hidden * (dim + hidden + (layers - 1) * 2 * hidden)
    return int(recurrent + hidden * (slots + dim + hidden) + hidden * slots + 2 * hidden * (hidden + dim))


@pytest.mark.parametrize("length", [100, 500])
@pytest.mark.parametrize("peer", PREDICTORS)
def test_prediction(timed: Timed, model: Any, vectors: np.ndarray, peer: str, length: int) -> None:
    context = contexts(vectors, 1, length)
    literal = LiteralMemoryGRU(model).eval()
    expected = eager(literal, context)
    precision, allowed = PREDICTORS[peer]
    call = (
        (lambda: eager(literal, context, precision))
        if peer.startswith("torch")
        else (lambda: model.predict(context, weights=precision))
    )
    check = partial(check_against, expected, allowed)
    check(timed(f"prediction, memory_gru, context {length}, batch 1", peer, call, note=lambda result, _: check(result)))


@pytest.mark.parametrize("peer", PREDICTORS)
def test_push(timed: Timed, model: Any, vectors: np.ndarray, peer: str) -> None:
    """One more vector of a stream; torch has no such thing and reads the last hundred again."""
    context = contexts(vectors, 1, 100)
    literal = LiteralMemoryGRU(model).eval()
    expected = eager(literal, context)
    precision, allowed = PREDICTORS[peer]
    group = "push of a stream, memory_gru, batch 1 (20 pushes)"
    if peer.startswith("torch"):
        check_against(expected, allowed, eager(literal, context, precision))
        timed(group, peer, lambda: [eager(literal, context, precision) for _ in range(20)], rounds=1)
        return
    stream = model.stream(weights=precision)
    for vector in context[0]:
        last = stream.push(vector)
    read = 20 * weights_of_a_step(model) * {"float32": 4, "bfloat16": 2, "int8": 1}[precision]
    error = check_against(expected, allowed, last)
    timed(
        group,
        peer,
        lambda: [stream.push(context[0, 0]) for _ in range(20)],
        note=lambda _, median: f"{error}; {read / median / 1e9:.0f} GB/s of weights",
    )

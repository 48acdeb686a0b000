"""memory_gru at the reference's size: one training step and one prediction, against the same model in literal torch."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lvm_fast as lf


class LiteralMemoryGRU(nn.Module):
    """The reference's forward pass written out in plain torch: the memory's content is concatenated to every step."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        ours = model.gru
        self.gru = nn.GRU(ours.input_size, ours.hidden_size, ours.num_layers, batch_first=True, dropout=ours.dropout)
        self.gru.load_state_dict(ours.state_dict())

    def read(self, query: Tensor) -> Tensor:
        memory = self.model.memory
        scores = torch.cosine_similarity(memory.query_proj(query)[:, None], memory.memory[None], dim=-1)
        return scores.softmax(dim=-1) @ memory.memory

    def forward(self, context: Tensor) -> Tensor:
        batch, steps, _ = context.shape
        model = self.model
        content = self.read(context.new_zeros(batch, self.gru.hidden_size))
        inputs = torch.cat([model.input_norm(context), content[:, None].expand(-1, steps, -1)], dim=-1)
        state = self.gru(inputs)[0][:, -1]
        raw = model.output_proj(model.fusion(torch.cat([state, self.read(state)], dim=-1)))
        return nn.functional.normalize(raw, dim=-1)


@pytest.fixture(scope="module")
def model() -> nn.Module:
    torch.manual_seed(0)
    return lf.create_model("memory_gru")


def contexts(vectors: np.ndarray, batch: int, length: int) -> Tensor:
    return torch.from_numpy(np.stack([vectors[start : start + length] for start in range(0, batch * 50, 50)]))


PEERS = ["lvm_fast", "torch eager", "lvm_fast, bf16 autocast", "torch eager, bf16 autocast"]


@pytest.mark.parametrize("peer", PEERS)
def test_training_step(timed, model, vectors, peer):
    batch = contexts(vectors, 32, 100)
    target = torch.from_numpy(vectors[100 : 100 + 32])
    subject = model if peer.startswith("lvm_fast") else LiteralMemoryGRU(model)
    optimiser = torch.optim.AdamW(subject.parameters(), lr=1e-4)

    def loss_of(module: nn.Module) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled="bf16" in peer):
            delta = module(batch)
        return 1 - (lf.reconstruct(batch[:, -1], delta.float()) * target).sum(dim=-1).mean()

    def slope(module: nn.Module) -> Tensor:
        module.zero_grad()
        loss_of(module.eval()).backward()  # without dropout and memory writes all peers are one function
        return torch.cat([parameter.grad.flatten() for parameter in module.gru.parameters()])

    found, expected = slope(subject), slope(LiteralMemoryGRU(copy.deepcopy(model)))
    error = ((found - expected).norm() / expected.norm()).item()
    assert error < (0.05 if "bf16" in peer else 1e-3), f"{peer}: the gradient is off by {error:.1e}"
    subject.train()

    def step() -> float:
        optimiser.zero_grad()
        loss = loss_of(subject)
        loss.backward()
        nn.utils.clip_grad_norm_(subject.parameters(), 1.0)
        optimiser.step()
        return loss.item()

    assert 0 < timed("training step, memory_gru, context 100, batch 32", peer, step, rounds=5) < 2


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


def weights_of_a_step(model: nn.Module) -> int:
    """How many weights one step reads, with the memory's reads folded as `lvm_fast.inference.packed` does."""
    dim, hidden, layers, slots = (model.config[k] for k in ("input_dim", "hidden_dim", "num_layers", "memory_slots"))
    recurrent = 3 * hidden * (dim + hidden + (layers - 1) * 2 * hidden)
    return recurrent + hidden * (slots + dim + hidden) + hidden * slots + 2 * hidden * (hidden + dim)


@pytest.mark.parametrize("length", [100, 500])
@pytest.mark.parametrize("peer", PREDICTORS)
def test_prediction(timed, model, vectors, peer, length):
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
def test_push(timed, model, vectors, peer):
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

"""A literal memory_gru: the architecture written down with stock torch modules, nothing folded or fused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIZES = {"input_dim": 16, "hidden_dim": 12, "num_layers": 4, "memory_slots": 8}


class LiteralMemory(nn.Module):
    def __init__(self, slots: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("memory", torch.randn(slots, dim) * 0.01)
        self.query_proj = nn.Linear(hidden, dim)
        self.write_gate = nn.Linear(hidden, slots)

    def read(self, query: Tensor) -> Tensor:
        cosines = F.cosine_similarity(self.query_proj(query).unsqueeze(1), self.memory.unsqueeze(0), dim=2)
        return torch.softmax(cosines, dim=1) @ self.memory


class LiteralMemoryGRU(nn.Module):
    def __init__(
        self, input_dim: int, hidden_dim: int, num_layers: int, memory_slots: int, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.input_norm = nn.LayerNorm(input_dim)
        self.memory = LiteralMemory(memory_slots, input_dim, hidden_dim)
        self.gru = nn.GRU(2 * input_dim, hidden_dim, num_layers, batch_first=True, dropout=dropout)
        self.fusion = nn.Sequential(
            nn.Linear(hidden_dim + input_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(hidden_dim)
        )
        self.output_proj = nn.Sequential(
            nn.Linear(hidden_dim, 2 * hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden_dim, input_dim)
        )

    def forward(self, context: Tensor) -> Tensor:
        batch, steps, _ = context.shape
        normed = self.input_norm(context)
        content = self.memory.read(torch.zeros(batch, self.hidden_dim, dtype=context.dtype))
        wide = torch.cat((normed, content.unsqueeze(1).expand(-1, steps, -1)), dim=2)
        _, hidden = self.gru(wide)
        final = hidden[-1]
        raw = self.output_proj(self.fusion(torch.cat((final, self.memory.read(final)), dim=1)))
        if self.training:
            gate = torch.softmax(self.memory.write_gate(final), dim=1).mean(dim=0)
            written = 0.9 * self.memory.memory + 0.1 * torch.outer(gate, raw.mean(dim=0))
            self.memory.memory = written.detach()
        return F.normalize(raw, dim=1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def sizes() -> dict[str, int]:
    return dict(SIZES)


@pytest.fixture
def literal() -> Callable[..., Any]:
    """Build a literal model; small sizes and a lively memory unless told otherwise."""

    def build(**changes: Any) -> LiteralMemoryGRU:
        model = LiteralMemoryGRU(**{**SIZES, **changes})
        model.memory.memory.mul_(50.0)  # unlike fresh ones, slots that matter
        return model

    return build

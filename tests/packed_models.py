"""Small models for tests of packed weights, and how far a prediction is from float64."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

LARGEST_ERROR = {"float32": 2e-6, "bfloat16": 5e-3, "int8": 2e-2}  # of a unit vector, as a length; tiny models


def make(input_dim: int = 16, hidden_dim: int = 12, num_layers: int = 4, memory_slots: int = 8) -> LatentVectorModel:
    torch.manual_seed(0)
    model = lf.create_model(
        "memory_gru", input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers, memory_slots=memory_slots
    )
    model.get_buffer("memory.memory").mul_(50.0)  # unlike fresh ones, slots that matter
    return model


def make_of(name: str, input_dim: int, hidden_dim: int, num_layers: int, memory_slots: int = 8) -> LatentVectorModel:
    """A model of a type that packs; norms and biases are unlike fresh ones."""
    if name == "memory_gru":
        return make(input_dim, hidden_dim, num_layers, memory_slots)
    torch.manual_seed(0)
    model = lf.create_model(name, input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def contexts(batch: int, steps: int, dim: int) -> torch.Tensor:
    return torch.randn(batch, steps, dim, generator=torch.Generator().manual_seed(1))


def reference(model: LatentVectorModel, context: torch.Tensor) -> torch.Tensor:
    """(B, D) in float64, by torch."""
    return copy.deepcopy(model).double().predict(context.double())


def distance(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).norm(dim=1).max())


class Constant(LatentVectorModel):
    """Of a kind that nobody packs."""

    model_type = "constant"

    def __init__(self) -> None:
        super().__init__({"input_dim": 16})
        self.delta = torch.nn.Parameter(torch.ones(16))

    def forward(self, context: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
        self.check_context(context, lengths)
        return self.delta.expand(len(context), -1)

    @classmethod
    def config_from_state(cls, state: Mapping[str, torch.Tensor]) -> dict[str, Any]:
        return {"input_dim": 16}

"""Applies layers in plain torch, in one precision, with weights that are handed over as tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor


class Layers:
    """Layers of a model, by the names of their parameters.

    Args:
        tensors: The parameters by name.
        precision: torch.float16 or torch.float32: what every layer reads and gives.
    """

    def __init__(self, tensors: Mapping[str, Tensor], precision: torch.dtype) -> None:
        self.tensors = tensors
        self.precision = precision

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def under(self, *prefixes: str) -> Layers:
        """Return the layers whose names begin with one of the prefixes."""
        found = {name: tensor for name, tensor in self.tensors.items() if name.startswith(prefixes)}
        return Layers(found, self.precision)

    def narrow(self, x: Tensor) -> Tensor:
        """Return `x` in the precision of the layers."""
        return x.to(self.precision)

    def linear(self, x: Tensor, weight: str, bias: str) -> Tensor:
        """Return ``x W^T + b`` for the named parameters."""
        return F.linear(x, self[weight], self[bias])

    def dense(self, x: Tensor, prefix: str) -> Tensor:
        """Apply the `torch.nn.Linear` called `prefix`."""
        return self.linear(x, f"{prefix}.weight", f"{prefix}.bias")

    def layer_norm(self, x: Tensor, prefix: str) -> Tensor:
        """Apply LayerNorm over the last axis, with torch's epsilon."""
        weight, bias = self[f"{prefix}.weight"], self[f"{prefix}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias)


def unit(x: Tensor) -> Tensor:
    """Return unit rows, in float32: the bound that guards the division is zero in float16."""
    return F.normalize(x.float(), dim=-1)

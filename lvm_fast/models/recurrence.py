"""What recurrent models do with the states of a GRU or an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick each sequence's state after its last valid step: (B, N, H), lengths (B,) or None for N -> (B, H)."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]


def widening_head(hidden_dim: int, input_dim: int, dropout: float) -> nn.Sequential:
    """States (..., H) -> raw deltas (..., D), by way of 2H."""
    return nn.Sequential(
        nn.Linear(hidden_dim, 2 * hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden_dim, input_dim)
    )


def between_layers(dropout: float, num_layers: int) -> float:
    """The dropout of a GRU with so many layers: none where there is one, of which torch would warn."""
    return dropout if num_layers > 1 else 0.0

"""Helpers of recurrent models: the states of a GRU or an LSTM, the last valid one, and the head."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .._util.torch_compat import has_forward_hooks
from ..layers.gru import GRU
from ..layers.lstm import LSTM


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick each sequence's state after its last valid step: (B, N, H), lengths (B,) or None for N -> (B, H)."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]


def runs_as_built(recurrent: nn.Module) -> bool:
    """Return whether the ways of a GRU or LSTM to its states give what a call gives: no hook, no other module."""
    is_ours = isinstance(recurrent, (GRU, LSTM)) and type(recurrent).forward in (GRU.forward, LSTM.forward)
    return is_ours and not has_forward_hooks(recurrent) and "forward" not in recurrent.__dict__


def states_of(recurrent: nn.Module, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the last layer's states after every step: (B, N, I), lengths (B,) or None for N -> (B, N, H)."""
    if runs_as_built(recurrent):
        assert isinstance(recurrent, (GRU, LSTM))
        return recurrent.states(inputs, lengths=lengths)
    states: Tensor = recurrent(inputs)[0]
    return states


def last_state_of(recurrent: nn.Module, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
    """Return the state after each sequence's last step: (B, N, I), lengths (B,) or None for N -> (B, H)."""
    if runs_as_built(recurrent):
        assert isinstance(recurrent, (GRU, LSTM))
        return recurrent.last_state(inputs, lengths=lengths)
    return last_valid(recurrent(inputs)[0], lengths)


def between_layers(dropout: float, num_layers: int) -> float:
    """Return the dropout of a GRU of so many layers; torch warns of one that has nothing to drop."""
    return dropout if num_layers > 1 else 0.0


def widening_head(hidden_dim: int, input_dim: int, dropout: float) -> nn.Sequential:
    """Make the head that maps states (..., H) to raw deltas (..., D), by way of 2H."""
    return nn.Sequential(
        nn.Linear(hidden_dim, 2 * hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden_dim, input_dim)
    )

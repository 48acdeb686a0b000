"""What every recurrent model does with the states of a GRU or an LSTM."""

from __future__ import annotations

import torch
from torch import Tensor


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick each sequence's state after its last valid step: (B, N, H), lengths (B,) or None for N -> (B, H)."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]

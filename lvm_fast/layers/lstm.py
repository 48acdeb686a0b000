"""`LSTM`: `torch.nn.LSTM` that the compiler takes."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._util.tensors import check_dense
from .._util.torch_compat import is_transformed
from ..ops.lstm import lstm_layer

State: TypeAlias = list[tuple[Tensor, Tensor]]  # hidden and cell state of every layer, (B, H) each


class LSTM(nn.Module):
    """An LSTM with the parameters and results of a batch-first `torch.nn.LSTM`, from zero states, that can also take one step.

    Torch's compiler refuses `torch.nn.LSTM`; here it gets one operator a layer. Under ``torch.autocast("cpu")`` all
    stays in float32. Under torch.func's transforms and in forward-mode differentiation its layers are made of torch's
    plain operators: torch's own LSTM has no rules for them.

    Args:
        input_size: Width I of the inputs.
        hidden_size: Width H of the states.
        num_layers: Layers L on top of each other.
        dropout: Dropout between layers, in training mode only.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.hidden_size, self.num_layers, self.dropout = hidden_size, num_layers, dropout
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            self.register_parameter(f"weight_ih_l{layer}", nn.Parameter(torch.empty(4 * hidden_size, width)))
            self.register_parameter(f"weight_hh_l{layer}", nn.Parameter(torch.empty(4 * hidden_size, hidden_size)))
            self.register_parameter(f"bias_ih_l{layer}", nn.Parameter(torch.empty(4 * hidden_size)))
            self.register_parameter(f"bias_hh_l{layer}", nn.Parameter(torch.empty(4 * hidden_size)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter uniformly from -+ 1 / sqrt(H), as `torch.nn.LSTM` does."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last layer's hidden states after every step: (B, N, I) -> (B, N, H).

        Raises:
            ValueError: The inputs are not floating numbers in such a shape, or not plain memory (sparse, nested).
        """
        self._check(inputs)
        if torch.compiler.is_compiling() or is_transformed():
            return self._layer_by_layer(inputs)
        layers = range(self.num_layers)
        weights = [weight for layer in layers for weight in self._weights(layer)]
        zeros = weights[0].new_zeros(self.num_layers, inputs.shape[0], self.hidden_size)
        # has_biases, layers, dropout, train, bidirectional, batch_first
        settings = (True, self.num_layers, self.dropout, self.training, False, True)
        with torch.autocast("cpu", enabled=False):  # few CPUs have a bfloat16 LSTM
            states, _, _ = torch.lstm(inputs, (zeros, zeros), weights, *settings)
        return states

    def _check(self, inputs: Tensor) -> None:
        check_dense("LSTM: inputs", inputs)
        weight = self._weights(0)[0]
        if inputs.dtype != weight.dtype:
            raise ValueError(f"LSTM: inputs: expected {weight.dtype}, the weights' dtype, got {inputs.dtype}")
        if inputs.ndim != 3 or inputs.shape[2] != weight.shape[1] or inputs.shape[1] == 0:
            expected = f"shape (sequences, at least one step, {weight.shape[1]})"
            raise ValueError(f"LSTM: inputs: expected {expected}, got {tuple(inputs.shape)}")

    def _layer_by_layer(self, states: Tensor) -> Tensor:
        for layer in range(self.num_layers):
            weight_ih, weight_hh, bias_ih, bias_hh = self._weights(layer)
            dropped = F.dropout(states, self.dropout, self.training) if layer else states
            states = lstm_layer(dropped, weight_ih, weight_hh, bias_ih + bias_hh)
        return states.clone()  # the backward pass reads those: the caller's may be written to

    def start(self, batch_size: int) -> State:
        """Return the states before the first step: zeros."""
        zeros = self._weights(0)[0].new_zeros(batch_size, self.hidden_size)
        return [(zeros, zeros)] * self.num_layers

    def advance(self, state: State, inputs: Tensor) -> tuple[Tensor, State]:
        """Take a step: states of every layer, inputs (B, I) -> the last hidden state (B, H), the next states."""
        hidden, moved = inputs, []
        for layer, before in enumerate(state):  # torch.lstm would lay out its weights anew at every step
            hidden, cell = torch.lstm_cell(hidden, before, *self._weights(layer))
            moved.append((hidden, cell))
        return hidden, moved

    def _weights(self, layer: int) -> list[Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, f"{name}_l{layer}") for name in names]  # whatever has taken a parameter's place, too

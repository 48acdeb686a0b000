"""The recurrence behind the recurrent models: a multi-layer GRU with the parameters of `torch.nn.GRU`."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

# torch's own lazy form of torch.compiler.disable, which would import the compiler (seconds) with every model
from torch._compile import _disable_dynamo


class GRU(nn.Module):
    """A batch-first GRU whose parameters have the names, shapes, order and initial values of `torch.nn.GRU`'s.

    It is a module of its own because `torch.compile` gives up on any frame that touches a `torch.nn.GRU`.

    Args:
        input_size: Width I of the inputs.
        hidden_size: Width H of the hidden states.
        num_layers: Layers on top of each other.
        dropout: Dropout between layers, in training mode only.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1, dropout: float = 0.0) -> None:
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.dropout = num_layers, dropout
        bound = 1.0 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            width = input_size if layer == 0 else hidden_size
            shapes = {
                "weight_ih": (3 * hidden_size, width),
                "weight_hh": (3 * hidden_size, hidden_size),
                "bias_ih": (3 * hidden_size,),
                "bias_hh": (3 * hidden_size,),
            }
            for name, shape in shapes.items():
                self.register_parameter(f"{name}_l{layer}", nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(self, inputs: Tensor, weight: Tensor | None = None, bias: Tensor | None = None) -> Tensor:
        """Run over a batch of sequences from zero initial states.

        Args:
            inputs: (B, N, I), or (B, N, I') where `weight` is given.
            weight: Takes the place of ``weight_ih_l0``, (3H, I').
            bias: Takes the place of ``bias_ih_l0``, (3H,).

        Returns:
            The last layer's hidden state after every step, (B, N, H).
        """
        weights: list[Tensor] = [*self.parameters()]
        if weight is not None:
            weights[0] = weight
        if bias is not None:
            weights[2] = bias
        return _run(inputs, weights, self.num_layers, self.dropout, self.training)


@_disable_dynamo  # traced, the loop over time would be unrolled into thousands of nodes
def _run(inputs: Tensor, weights: list[Tensor], num_layers: int, dropout: float, training: bool) -> Tensor:
    hidden_size = weights[1].shape[1]
    initial = inputs.new_zeros(num_layers, inputs.shape[0], hidden_size)  # (L, B, H)
    # inputs, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first
    states: Tensor = torch.gru(inputs, initial, weights, True, num_layers, dropout, training, False, True)[0]
    return states


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick each sequence's state after its last valid step: (B, N, H), lengths (B,) or None for N -> (B, H)."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]

"""The recurrence behind the recurrent models: a multi-layer GRU with the parameters of `torch.nn.GRU`."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# torch's own lazy form of torch.compiler.disable, which would import the compiler (seconds) with every model
from torch._compile import _disable_dynamo

from .. import _core

_FEW = 4  # sequences


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
    lone = inputs.shape[0] < _FEW and not torch.is_grad_enabled()  # torch's forward is quicker for so few
    if inputs.device.type == "cpu" and weights[1].dtype == torch.float32 and not lone:
        return _run_on_core(inputs, weights, num_layers, dropout if training else 0.0)
    hidden_size = weights[1].shape[1]
    initial = inputs.new_zeros(num_layers, inputs.shape[0], hidden_size)  # (L, B, H)
    # inputs, states, weights, has_biases, layers, dropout, train, bidirectional, batch_first
    states: Tensor = torch.gru(inputs, initial, weights, True, num_layers, dropout, training, False, True)[0]
    return states


def _run_on_core(inputs: Tensor, weights: list[Tensor], num_layers: int, dropout: float) -> Tensor:
    """The same with our recurrence: its gradient is linear in length, as torch's on the CPU is not."""
    states = inputs.transpose(0, 1)  # (N, B, I): the sequences of a step side by side in memory
    for layer in range(num_layers):
        if layer and dropout:
            states = F.dropout(states, dropout)
        weight_ih, weight_hh, bias_ih, bias_hh = weights[4 * layer : 4 * layer + 4]
        projected = F.linear(states, weight_ih, bias_ih).float()  # (N, B, 3H), all steps in one product
        states = _Layer.apply(projected, weight_hh, bias_hh)  # type: ignore[no-untyped-call]  # (N, B, H)
    return states.transpose(0, 1)


class _Layer(torch.autograd.Function):
    """The recurrence of one layer from zero states: projected inputs (N, B, 3H) -> states (N, B, H), float32.

    Under autocast the large products (inputs, weight gradients) run in its precision; the recurrence stays float32.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        inputs, weight, bias = inputs.contiguous(), weight.contiguous(), bias.contiguous()
        steps, batch, width = inputs.shape
        hidden = width // 3
        states = inputs.new_empty(steps + 1, batch, hidden)
        states[0].zero_()
        gates = torch.empty_like(inputs)  # r, z, n
        candidates = inputs.new_empty(steps, batch, hidden)
        arrays = (inputs, weight, bias, states, gates, candidates)
        _core.gru_forward(steps, batch, hidden, *(array.data_ptr() for array in arrays))
        ctx.save_for_backward(weight, states, gates, candidates)
        ctx.precision = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32
        return states[1:]

    @staticmethod
    def backward(ctx: Any, grad_states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weight, states, gates, candidates = ctx.saved_tensors
        grad_states = grad_states.contiguous()
        steps, batch, hidden = candidates.shape
        grad_inputs, grad_products = torch.empty_like(gates), torch.empty_like(gates)
        grad_initial = torch.empty_like(states[0])
        arrays = (grad_states, weight, states, gates, candidates, grad_inputs, grad_products, grad_initial)
        _core.gru_backward(steps, batch, hidden, *(array.data_ptr() for array in arrays))
        products, before = (t.flatten(0, 1) for t in (grad_products, states[:-1]))  # (N B, 3H), (N B, H)
        grad_weight = products.to(ctx.precision).T @ before.to(ctx.precision)
        return grad_inputs, grad_weight.float(), products.sum(dim=0)


def last_valid(states: Tensor, lengths: Tensor | None) -> Tensor:
    """Pick each sequence's state after its last valid step: (B, N, H), lengths (B,) or None for N -> (B, H)."""
    if lengths is None:
        return states[:, -1]
    return states[torch.arange(states.shape[0], device=states.device), lengths.to(states.device) - 1]

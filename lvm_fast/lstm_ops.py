"""One LSTM layer as torch operators, for the compiler; all else is faster in `torch.lstm`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("lvm_fast::lstm_layer", mutates_args=())
def lstm_layer(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    """Run one layer over all steps, from zero states: the equations of `torch.nn.LSTM`, gates in the order i, f, g, o.

    Args:
        inputs: (B, N, I).
        weight_ih: (4H, I).
        weight_hh: (4H, H).
        bias: b_ih + b_hh, (4H,).

    Returns:
        Hidden states after every step, (B, N, H).
    """
    zeros = inputs.new_zeros(1, inputs.shape[0], weight_hh.shape[1])
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    with torch.autocast(inputs.device.type, enabled=False):
        # has_biases, layers, dropout, train, bidirectional, batch_first
        states, _, _ = torch.lstm(inputs, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
    return states.contiguous()


@lstm_layer.register_fake
def _(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    return inputs.new_empty(*inputs.shape[:2], weight_hh.shape[1])


@torch.library.custom_op("lvm_fast::lstm_layer_backward", mutates_args=())
def lstm_layer_backward(
    grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> Tensor:
    """Go back through time; the gates are computed again from the states, all steps in one product.

    Args:
        grad: (B, N, H), of the hidden states.

    Returns:
        Gradients of the gates before their nonlinearities, (B, N, 4H).
    """
    before = torch.nn.functional.pad(states[:, :-1], (0, 0, 1, 0))  # (B, N, H)
    gates = inputs @ weight_ih.T + before @ weight_hh.T + bias
    i, f, g, o = (gate.transpose(0, 1) for gate in gates.chunk(4, dim=-1))  # (N, B, H) each
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    cells = [torch.zeros_like(i[0])]
    for step in range(len(i)):
        cells.append(f[step] * cells[-1] + i[step] * g[step])
    slopes = torch.empty_like(gates)
    grad_state, grad_cell = torch.zeros_like(i[0]), torch.zeros_like(i[0])
    for step in reversed(range(len(i))):
        grad_state = grad_state + grad[:, step]
        shown = cells[step + 1].tanh()
        grad_cell = grad_cell + grad_state * o[step] * (1 - shown * shown)
        parts = (
            grad_cell * g[step] * i[step] * (1 - i[step]),
            grad_cell * cells[step] * f[step] * (1 - f[step]),
            grad_cell * i[step] * (1 - g[step] * g[step]),
            grad_state * shown * o[step] * (1 - o[step]),
        )
        slopes[:, step] = torch.cat(parts, dim=-1)
        grad_cell = grad_cell * f[step]
        grad_state = slopes[:, step] @ weight_hh
    return slopes


@lstm_layer_backward.register_fake
def _(grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    return inputs.new_empty(*inputs.shape[:2], weight_hh.shape[0])


def _save_for_backward(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    states, inputs, weight_ih, weight_hh, bias = ctx.saved_tensors
    slopes = torch.ops.lvm_fast.lstm_layer_backward(grad, states, inputs, weight_ih, weight_hh, bias)  # (B, N, 4H)
    flat, before = slopes.flatten(0, 1), torch.nn.functional.pad(states[:, :-1], (0, 0, 1, 0)).flatten(0, 1)
    return slopes @ weight_ih, flat.T @ inputs.flatten(0, 1), flat.T @ before, flat.sum(dim=0)


lstm_layer.register_autograd(_backward, setup_context=_save_for_backward)

"""One LSTM layer as torch operators, for the compiler; all else is faster in `torch.lstm`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.operators import check_tensors, define_operator

_FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def _fake(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    _check("lstm_layer", inputs, weight_ih, weight_hh, bias)
    return inputs.new_empty(*inputs.shape[:2], weight_hh.shape[1])


def _check(operator: str, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> None:
    (batch, steps, width), hidden, dtype = (*inputs.shape, 0, 0, 0)[:3], weight_hh.shape[-1], inputs.dtype
    check_tensors(
        operator,
        inputs=(inputs, _FLOATS, (batch, steps, width)),
        weight_ih=(weight_ih, dtype, (4 * hidden, width)),
        weight_hh=(weight_hh, dtype, (4 * hidden, hidden)),
        bias=(bias, dtype, (4 * hidden,)),
    )


def _plain(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor) -> Tensor:
    hidden = cell = inputs.new_zeros(inputs.shape[0], weight_hh.shape[1])
    states = []
    for projected in F.linear(inputs, weight_ih, bias).unbind(dim=1):  # (B, 4H)
        i, f, g, o = (projected + F.linear(hidden, weight_hh)).chunk(4, dim=1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        hidden = torch.sigmoid(o) * torch.tanh(cell)
        states.append(hidden)
    return torch.stack(states, dim=1)


def _save(ctx: Any, given: tuple[Tensor, ...], states: Tensor) -> None:
    ctx.save_for_backward(states, *given)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    grads: tuple[Tensor, ...] = lstm_layer_backward(grad, *ctx.saved_tensors)
    return grads


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate)
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
    _check("lstm_layer", inputs, weight_ih, weight_hh, bias)
    zeros = inputs.new_zeros(1, inputs.shape[0], weight_hh.shape[1])
    weights = [weight_ih, weight_hh, bias, torch.zeros_like(bias)]
    with torch.autocast(inputs.device.type, enabled=False):
        # has_biases, layers, dropout, train, bidirectional, batch_first
        states, _, _ = torch.lstm(inputs, (zeros, zeros), weights, True, 1, 0.0, False, False, True)
    return states.contiguous()


def _fake_backward(
    grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_backward(grad, states, inputs, weight_ih, weight_hh, bias)
    made = [inputs.new_empty(given.shape) for given in (inputs, weight_ih, weight_hh, bias)]
    return made[0], made[1], made[2], made[3]


def _check_backward(
    grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> None:
    _check("lstm_layer_backward", inputs, weight_ih, weight_hh, bias)
    shape = (*inputs.shape[:2], weight_hh.shape[1])
    check_tensors("lstm_layer_backward", grad=(grad, inputs.dtype, shape), states=(states, inputs.dtype, shape))


def _go_back(
    grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    before = torch.cat((torch.zeros_like(states[:, :1]), states[:, :-1]), dim=1)  # (B, N, H)
    gates = F.linear(inputs, weight_ih, bias) + F.linear(before, weight_hh)  # all steps in one product
    slopes = _slopes(grad, gates, weight_hh)  # (B, N, 4H)
    flat = slopes.reshape(-1, weight_hh.shape[0]).transpose(0, 1)
    grad_ih, grad_hh = (flat @ given.reshape(-1, given.shape[2]) for given in (inputs, before))
    return slopes @ weight_ih, grad_ih, grad_hh, flat.sum(dim=1)


def _slopes(grad: Tensor, gates: Tensor, weight_hh: Tensor) -> Tensor:
    """Gradients of the gates before their nonlinearities, (B, N, 4H)."""
    i, f, g, o = (gate.transpose(0, 1) for gate in gates.chunk(4, dim=2))  # (N, B, H) each
    i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
    cells = [torch.zeros_like(i[0])]
    for step in range(i.shape[0]):
        cells.append(f[step] * cells[-1] + i[step] * g[step])
    grad_state, grad_cell, slopes = torch.zeros_like(i[0]), torch.zeros_like(i[0]), []
    for step in reversed(range(i.shape[0])):
        grad_state = grad_state + grad[:, step]
        shown = torch.tanh(cells[step + 1])
        grad_cell = grad_cell + grad_state * o[step] * (1 - shown * shown)
        parts = (
            grad_cell * g[step] * i[step] * (1 - i[step]),
            grad_cell * cells[step] * f[step] * (1 - f[step]),
            grad_cell * i[step] * (1 - g[step] * g[step]),
            grad_state * shown * o[step] * (1 - o[step]),
        )
        slopes.append(torch.cat(parts, dim=1))
        grad_cell = grad_cell * f[step]
        grad_state = slopes[-1] @ weight_hh
    return torch.stack(slopes[::-1], dim=1)


@define_operator(fake=_fake_backward, plain=_go_back)
def lstm_layer_backward(
    grad: Tensor, states: Tensor, inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Go back through time; the gates are computed again from the states.

    Args:
        grad: (B, N, H), of the hidden states.
        states: (B, N, H), what `lstm_layer` gave for the arguments that follow.

    Returns:
        Gradients of the inputs (B, N, I), weight_ih (4H, I), weight_hh (4H, H) and bias (4H,).
    """
    _check_backward(grad, states, inputs, weight_ih, weight_hh, bias)
    with torch.autocast(inputs.device.type, enabled=False):
        return _go_back(grad, states, inputs, weight_ih, weight_hh, bias)

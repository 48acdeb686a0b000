"""One LSTM layer, input projection included, as torch operators: autograd, torch.compile, float32 on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core import lstm_backward, lstm_forward
from .._util.operators import check_lengths, check_tensors, define_operator
from .linear_ragged import linear_gradients_within, linear_within
from .lstm_naive import run_layer, run_layer_and_back


def _fake(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    _check("lstm_layer", inputs, weight_ih, weight_hh, bias, state, cell, lengths)
    return _made(inputs, weight_hh)


def _check(
    operator: str,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
) -> None:
    (steps, batch, width), hidden, single = (*inputs.shape, 0, 0, 0)[:3], weight_hh.shape[-1], torch.float32
    check_tensors(
        operator,
        inputs=(inputs, single, (steps, batch, width)),
        weight_ih=(weight_ih, single, (4 * hidden, width)),
        weight_hh=(weight_hh, single, (4 * hidden, hidden)),
        bias=(bias, single, (4 * hidden,)),
        state=(state, single, (batch, hidden)),
        cell=(cell, single, (batch, hidden)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _made(inputs: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    (steps, batch), (wide, hidden) = inputs.shape[:2], weight_hh.shape
    states, final = (steps + 1, batch, hidden), (batch, hidden)
    sizes = states, states, (steps, batch, wide), final, final
    made = [inputs.new_empty(size) for size in sizes]
    return made[0], made[1], made[2], made[3], made[4]


def _save(ctx: Any, given: tuple[Any, ...], results: tuple[Tensor, ...]) -> None:
    *tensors, ctx.reverse = given
    states, cells, gates, _, _ = results
    ctx.save_for_backward(*tensors, states, cells, gates)
    ctx.mark_non_differentiable(cells, gates)
    ctx.set_materialize_grads(False)


def _differentiate(
    ctx: Any, grad_states: Tensor | None, _: Any, __: Any, grad_state: Tensor | None, grad_cell: Tensor | None
) -> tuple[Any, ...]:
    asks_inputs = ctx.needs_input_grad[0]
    given = (grad_states, grad_state, grad_cell, *ctx.saved_tensors, ctx.reverse, asks_inputs)
    grads = lstm_layer_backward(*given)
    return grads[0] if asks_inputs else None, *grads[1:], None, None


@define_operator(fake=_fake, plain=run_layer, save=_save, backward=_differentiate, device="cpu")
def lstm_layer(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run one layer over all steps: the equations of `torch.nn.LSTM`, whose gates i, f, g, o stand in this order.

    Args:
        inputs: (N, B, I) float32; what lies beyond a length may be anything.
        weight_ih: (4H, I) float32.
        weight_hh: (4H, H) float32.
        bias: b_ih + b_hh, (4H,) float32.
        state: Initial hidden state, (B, H) float32.
        cell: Initial cell state, (B, H) float32.
        lengths: (B,) int64, non-increasing, each at most N; None for N. Beyond its length a state is the last one.
        reverse: Take the steps of each sequence from its last to its first.

    Returns:
        states and cells (N + 1, B, H), the initial ones first (in reverse: last); gates (N, B, 4H), for the gradient;
        and the final hidden and cell state, (B, H) each.
    """
    _check("lstm_layer", inputs, weight_ih, weight_hh, bias, state, cell, lengths)
    ends = check_lengths("lstm_layer", lengths, inputs.shape[0])
    states, cells, gates, final_state, final_cell = _made(inputs, weight_hh)
    if ends is None:
        with torch.autocast("cpu", enabled=False):
            torch.addmm(bias, inputs.flatten(0, 1), weight_ih.T, out=gates.flatten(0, 1))
    else:
        gates = linear_within(inputs, weight_ih, bias, ends)
    first, last = (-1, 0) if reverse else (0, -1)
    states[first], cells[first] = state, cell
    lstm_forward(weight_hh.contiguous(), gates, states, cells, ends, reverse)
    final_state.copy_(states[last])
    final_cell.copy_(cells[last])
    return states, cells, gates, final_state, final_cell


def _fake_backward(
    grad_states: Tensor | None, grad_state: Tensor | None, grad_cell: Tensor | None, inputs: Tensor, *more: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    *kept, _, asks_inputs = more
    _check_backward(grad_states, grad_state, grad_cell, inputs, *kept)
    weight_ih, weight_hh, bias, state, cell = kept[:5]
    shapes = inputs.shape if asks_inputs else (0,), weight_ih.shape, weight_hh.shape, bias.shape, state.shape
    made = [inputs.new_empty(shape) for shape in (*shapes, cell.shape)]
    return made[0], made[1], made[2], made[3], made[4], made[5]


def _check_backward(
    grad_states: Tensor | None,
    grad_state: Tensor | None,
    grad_cell: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    states: Tensor,
    cells: Tensor,
    gates: Tensor,
) -> None:
    operator, single = "lstm_layer_backward", torch.float32
    _check(operator, inputs, weight_ih, weight_hh, bias, state, cell, lengths)
    (steps, batch), hidden = inputs.shape[:2], weight_hh.shape[1]
    check_tensors(
        operator,
        grad_states=(grad_states, single, (steps + 1, batch, hidden)),
        grad_state=(grad_state, single, (batch, hidden)),
        grad_cell=(grad_cell, single, (batch, hidden)),
        states=(states, single, (steps + 1, batch, hidden)),
        cells=(cells, single, (steps + 1, batch, hidden)),
        gates=(gates, single, (steps, batch, 4 * hidden)),
    )


def _plain_backward(
    grad_states: Tensor | None, grad_state: Tensor | None, grad_cell: Tensor | None, *given: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    inputs, weight_ih, weight_hh, bias, state, cell, lengths, _, _, _, reverse, _ = given
    own = (weight_ih, weight_hh, bias, state, cell)
    return run_layer_and_back(grad_states, grad_state, grad_cell, inputs, *own, lengths, reverse)


@define_operator(fake=_fake_backward, plain=_plain_backward, device="cpu")
def lstm_layer_backward(
    grad_states: Tensor | None,
    grad_state: Tensor | None,
    grad_cell: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor,
    state: Tensor,
    cell: Tensor,
    lengths: Tensor | None,
    states: Tensor,
    cells: Tensor,
    gates: Tensor,
    reverse: bool,
    asks_inputs: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N + 1, B, H), of all states; None for zeros.
        grad_state: (B, H), of the final hidden state; None for zeros.
        grad_cell: (B, H), of the final cell state; None for zeros.
        inputs, weight_ih, weight_hh, bias, state, cell, lengths, reverse: What `lstm_layer` took.
        states, cells, gates: What it gave.
        asks_inputs: Whether the gradient of the inputs is wanted.

    Returns:
        Gradients of the inputs (N, B, I), empty (0,) if not asked for, of weight_ih (4H, I), weight_hh (4H, H), bias
        (4H,), and the initial hidden and cell state (B, H).
    """
    kept = (inputs, weight_ih, weight_hh, bias, state, cell, lengths, states, cells, gates)
    _check_backward(grad_states, grad_state, grad_cell, *kept)
    ends = check_lengths("lstm_layer_backward", lengths, inputs.shape[0])
    states, cells, gates = states.contiguous(), cells.contiguous(), gates.contiguous()
    grad_gates = torch.empty_like(gates)
    pull, pull_cell = (_own(grad, state) for grad in (grad_state, grad_cell))
    steps = slice(None, -1) if reverse else slice(1, None)  # the states after each
    given = None if grad_states is None else grad_states[steps].contiguous()
    lstm_backward(given, weight_hh.contiguous(), gates, cells, grad_gates, pull, pull_cell, ends, reverse)
    if grad_states is not None:
        pull += grad_states[-1 if reverse else 0]
    before = states[1:] if reverse else states[:-1]
    if ends is None:
        return *_products(grad_gates, inputs, before, weight_ih, asks_inputs), pull, pull_cell
    grad_ih, grad_bias = linear_gradients_within(grad_gates, inputs, ends)
    grad_hh, _ = linear_gradients_within(grad_gates, before, ends)
    grad_inputs = linear_within(grad_gates, weight_ih.T, None, ends) if asks_inputs else gates.new_empty(0)
    return grad_inputs, grad_ih, grad_hh, grad_bias, pull, pull_cell


def _own(grad: Tensor | None, like: Tensor) -> Tensor:
    """Return a copy that may be written to, contiguous."""
    if grad is None:
        return like.new_zeros(like.shape)
    return grad.clone(memory_format=torch.contiguous_format)


def _products(
    grad_gates: Tensor, inputs: Tensor, before: Tensor, weight_ih: Tensor, asks_inputs: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    flat = grad_gates.flatten(0, 1)  # (N B, 4H)
    with torch.autocast("cpu", enabled=False):
        grad_inputs = (flat @ weight_ih).view(inputs.shape) if asks_inputs else flat.new_empty(0)
        return grad_inputs, flat.T @ inputs.flatten(0, 1), flat.T @ before.flatten(0, 1), flat.sum(dim=0)

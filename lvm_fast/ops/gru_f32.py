"""The recurrence of one GRU layer as torch operators: autograd, torch.compile, float32 on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .._core import gru_backward, gru_forward
from .._util.operators import check_lengths, check_tensors, define_operator
from .gru_naive import run_layer, run_layer_backward
from .linear_ragged import linear_gradients_within


def _fake(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    bfloat16: bool,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    _check(inputs, weight, bias, initial, lengths)
    steps, batch, width = inputs.shape
    hidden = width // 3
    sizes = (steps + 1, batch, hidden), (steps, batch, width), (steps, batch, hidden)
    states, gates, candidates = (inputs.new_empty(size) for size in sizes)
    return states, gates, candidates


def _check(inputs: Tensor, weight: Tensor, bias: Tensor, initial: Tensor, lengths: Tensor | None) -> None:
    (steps, batch), hidden = inputs.shape[:2], weight.shape[-1]
    check_tensors(
        "gru_layer",
        inputs=(inputs, torch.float32, (steps, batch, 3 * hidden)),
        weight=(weight, torch.float32, (3 * hidden, hidden)),
        bias=(bias, torch.float32, (3 * hidden,)),
        initial=(initial, torch.float32, (batch, hidden)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _fake_backward(
    grad_states: Tensor,
    weight: Tensor,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    lengths: Tensor | None,
    bfloat16: bool,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check_backward(grad_states, weight, states, gates, candidates, lengths)
    sizes = gates.shape, weight.shape, weight.shape[:1], states.shape[1:]
    grad_inputs, grad_weight, grad_bias, grad_initial = (gates.new_empty(size) for size in sizes)
    return grad_inputs, grad_weight, grad_bias, grad_initial


def _check_backward(
    grad_states: Tensor, weight: Tensor, states: Tensor, gates: Tensor, candidates: Tensor, lengths: Tensor | None
) -> None:
    (steps, batch), hidden = candidates.shape[:2], weight.shape[-1]
    check_tensors(
        "gru_layer_backward",
        grad_states=(grad_states, torch.float32, (steps + 1, batch, hidden)),
        weight=(weight, torch.float32, (3 * hidden, hidden)),
        states=(states, torch.float32, (steps + 1, batch, hidden)),
        gates=(gates, torch.float32, (steps, batch, 3 * hidden)),
        candidates=(candidates, torch.float32, (steps, batch, hidden)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _save(ctx: Any, given: tuple[Any, ...], results: tuple[Tensor, Tensor, Tensor]) -> None:
    _, weight, _, _, lengths, bfloat16, *more = given  # torch leaves out a last one that is as by default
    ctx.settings, ctx.others = (bfloat16, any(more)), len(given) - 4
    ctx.save_for_backward(weight, *results, lengths)
    ctx.set_materialize_grads(False)  # of gates and candidates there are some only in a gradient of a gradient


def _differentiate(
    ctx: Any, grad_states: Tensor | None, grad_gates: Tensor | None, grad_candidates: Tensor | None
) -> tuple[Tensor | None, ...]:
    weight, states, gates, candidates, lengths = ctx.saved_tensors
    (bfloat16, reverse), given = ctx.settings, (weight, states, gates, candidates, lengths)
    if grad_states is None or grad_gates is not None or grad_candidates is not None:
        grads = run_layer_backward(grad_states, *given, bfloat16, reverse, grad_gates, grad_candidates)
    else:
        grads = gru_layer_backward(grad_states, *given, bfloat16, reverse)
    return *grads, *(None for _ in range(ctx.others))


@define_operator(fake=_fake, plain=run_layer, save=_save, backward=_differentiate, device="cpu")
def gru_layer(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    bfloat16: bool,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer over all steps: the equations of `torch.nn.GRU`, whose gates r, z, n stand in this order.

    Args:
        inputs: (N, B, 3H) float32: W_ih x + b_ih of every step.
        weight: W_hh, (3H, H) float32.
        bias: b_hh, (3H,) float32.
        initial: (B, H) float32.
        lengths: (B,) int64, non-increasing, each at most N; None for N. Beyond its length a state is the last one.
        bfloat16: Take the weight's gradient, one large product, in bfloat16.
        reverse: Take the steps of each sequence from its last to its first.

    Returns:
        states (N + 1, B, H), the initial one first (in reverse: last); and for the gradient, gates (N, B, 3H) and
        candidates (N, B, H).
    """
    _check(inputs, weight, bias, initial, lengths)
    inputs, weight, bias = inputs.contiguous(), weight.contiguous(), bias.contiguous()
    steps, batch, hidden = inputs.shape[0], *initial.shape
    ends = check_lengths("gru_layer", lengths, steps)
    states = inputs.new_empty(steps + 1, batch, hidden)
    states[-1 if reverse else 0] = initial
    make = torch.empty_like if ends is None else torch.zeros_like  # what lies beyond a length is not written
    gates, candidates = make(inputs), make(states[1:])
    gru_forward(inputs, weight, bias, states, gates, candidates, ends, reverse)
    return states, gates, candidates


@define_operator(fake=_fake_backward, plain=run_layer_backward, device="cpu")
def gru_layer_backward(
    grad_states: Tensor,
    weight: Tensor,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    lengths: Tensor | None,
    bfloat16: bool,
    reverse: bool = False,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N + 1, B, H), of all states.
        weight, states, gates, candidates, lengths, bfloat16, reverse: What `gru_layer` took and gave.

    Returns:
        Gradients of gru_layer's inputs (N, B, 3H), weight (3H, H), bias (3H,) and initial state (B, H).
    """
    _check_backward(grad_states, weight, states, gates, candidates, lengths)
    given = (grad_states, weight, states, gates, candidates)
    grad_states, weight, states, gates, candidates = (tensor.contiguous() for tensor in given)
    ends = check_lengths("gru_layer_backward", lengths, candidates.shape[0])
    grad_inputs, grad_products = torch.empty_like(gates), torch.empty_like(gates)
    grad_initial = torch.empty_like(states[0])
    after, before, first = (grad_states[:-1], states[1:], -1) if reverse else (grad_states[1:], states[:-1], 0)
    given = (after, weight, states, gates, candidates)
    gru_backward(*given, grad_inputs, grad_products, grad_initial, ends, reverse)
    precision = torch.bfloat16 if bfloat16 else torch.float32
    products, before = grad_products.to(precision), before.to(precision)  # (N, B, 3H), (N, B, H)
    if ends is None:
        with torch.autocast("cpu", enabled=False):
            grad_weight = products.flatten(0, 1).T @ before.flatten(0, 1)
    else:
        grad_weight, _ = linear_gradients_within(products, before, ends)
    return grad_inputs, grad_weight.float(), grad_products.sum(dim=(0, 1)), grad_initial + grad_states[first]

"""The recurrence of one GRU layer as torch operators: autograd, torch.compile, float32 on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _core
from .ragged_ops import linear_gradients_within


def check_float32(operator: str, expected: dict[str, tuple[Tensor, tuple[int, ...]]]) -> None:
    """Raise ValueError naming the first tensor that is not float32 of its shape: the core reads plain memory."""
    for name, (tensor, shape) in expected.items():
        if tensor.dtype != torch.float32 or tensor.shape != shape:
            got = f"{tensor.dtype} {tuple(tensor.shape)}"
            raise ValueError(f"{operator}: {name} is {got}; expected torch.float32 {shape}")


def check_lengths(name: str, lengths: Tensor | None, batch: int) -> Tensor | None:
    """Return them contiguous; raise ValueError unless they are int64 (B,)."""
    if lengths is None:
        return None
    if lengths.dtype != torch.int64 or lengths.shape != (batch,):
        raise ValueError(f"{name}: lengths are {lengths.dtype} {tuple(lengths.shape)}; expected torch.int64 ({batch},)")
    return lengths.contiguous()


@torch.library.custom_op("lvm_fast::gru_layer", mutates_args=(), device_types="cpu")
def gru_layer(
    inputs: Tensor, weight: Tensor, bias: Tensor, initial: Tensor, lengths: Tensor | None, bfloat16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Run one layer over all steps: the equations of `torch.nn.GRU`, whose gates r, z, n stand in this order.

    Args:
        inputs: (N, B, 3H) float32: W_ih x + b_ih of every step.
        weight: W_hh, (3H, H) float32.
        bias: b_hh, (3H,) float32.
        initial: (B, H) float32.
        lengths: (B,) int64, non-increasing, each at most N; None for N. Beyond its length a state is the last one.
        bfloat16: Take the weight's gradient, one large product, in bfloat16.

    Returns:
        states (N + 1, B, H), the initial one first; and for the gradient, gates (N, B, 3H) and candidates (N, B, H).
    """
    inputs, weight, bias = inputs.contiguous(), weight.contiguous(), bias.contiguous()
    steps, batch, width = inputs.shape
    hidden = width // 3
    expected = {
        "inputs": (inputs, (steps, batch, 3 * hidden)),
        "weight": (weight, (3 * hidden, hidden)),
        "bias": (bias, (3 * hidden,)),
        "initial": (initial, (batch, hidden)),
    }
    check_float32("gru_layer", expected)
    lengths = check_lengths("gru_layer", lengths, batch)
    states = inputs.new_empty(steps + 1, batch, width // 3)
    states[0] = initial
    make = torch.empty_like if lengths is None else torch.zeros_like  # what lies beyond a length is not written
    gates, candidates = make(inputs), make(states[1:])
    addresses = [array.data_ptr() for array in (inputs, weight, bias, states, gates, candidates)]
    _core.gru_forward(steps, batch, width // 3, *addresses, *_address(lengths))
    return states, gates, candidates


@torch.library.custom_op("lvm_fast::gru_layer_backward", mutates_args=(), device_types="cpu")
def gru_layer_backward(
    grad_states: Tensor, weight: Tensor, states: Tensor, gates: Tensor, candidates: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N + 1, B, H), of all states.

    Returns:
        Gradients of the inputs (N, B, 3H), of the products W_hh h + b_hh (N, B, 3H), and of the initial state (B, H).
    """
    grad_states = grad_states.contiguous()
    steps, batch, hidden = candidates.shape
    grad_inputs, grad_products = torch.empty_like(gates), torch.empty_like(gates)
    grad_initial = torch.empty_like(states[0])
    arrays = (grad_states[1:], weight, states, gates, candidates, grad_inputs, grad_products, grad_initial)
    addresses = [array.data_ptr() for array in arrays]
    _core.gru_backward(steps, batch, hidden, *addresses, *_address(lengths))
    return grad_inputs, grad_products, grad_initial + grad_states[0]


def _address(lengths: Tensor | None) -> list[int]:
    return [0 if lengths is None else lengths.data_ptr()]


@gru_layer.register_fake
def _(
    inputs: Tensor, weight: Tensor, bias: Tensor, initial: Tensor, lengths: Tensor | None, bfloat16: bool
) -> tuple[Tensor, Tensor, Tensor]:
    steps, batch, width = inputs.shape
    states = inputs.new_empty(steps + 1, batch, width // 3)
    return states, inputs.new_empty(steps, batch, width), inputs.new_empty(steps, batch, width // 3)


@gru_layer_backward.register_fake
def _(
    grad_states: Tensor, weight: Tensor, states: Tensor, gates: Tensor, candidates: Tensor, lengths: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    return gates.new_empty(gates.shape), gates.new_empty(gates.shape), states.new_empty(states.shape[1:])


def _save_for_backward(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _, weight, _, _, lengths, ctx.bfloat16 = inputs
    states, gates, candidates = output
    ctx.save_for_backward(weight.contiguous(), states, gates, candidates, lengths)
    ctx.mark_non_differentiable(gates, candidates)


def _backward(ctx: Any, grad_states: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    weight, states, gates, candidates, lengths = ctx.saved_tensors
    backward = torch.ops.lvm_fast.gru_layer_backward
    grad_inputs, grad_products, grad_initial = backward(grad_states, weight, states, gates, candidates, lengths)
    precision = torch.bfloat16 if ctx.bfloat16 else torch.float32
    products, before = grad_products.to(precision), states[:-1].to(precision)  # (N, B, 3H), (N, B, H)
    if lengths is None:
        grad_weight = products.flatten(0, 1).T @ before.flatten(0, 1)
    else:
        grad_weight, _ = linear_gradients_within(products, before, lengths)
    return grad_inputs, grad_weight.float(), grad_products.sum(dim=(0, 1)), grad_initial, None, None


gru_layer.register_autograd(_backward, setup_context=_save_for_backward)

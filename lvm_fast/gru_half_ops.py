"""One GRU layer in bfloat16, input projection included, as torch operators: autograd and torch.compile on the CPU.

Products take bfloat16 numbers and sum in float32; the state goes from step to step in float32. Widths inside are padded
to whole tiles: Hp and Ip are H and I rounded up to multiples of 32.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from . import _core
from .gru_ops import check_float32, check_lengths

_TILE = 32


def padded(width: int) -> int:
    """Return the width in whole tiles."""
    return -(-width // _TILE) * _TILE


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def half_is_offered() -> bool:
    """Whether the instruction set in force has the bfloat16 products (AMX, AVX512-BF16) that these operators need."""
    return _core.has_half_gru()


@torch.library.custom_op("lvm_fast::gru_half_layer", mutates_args=(), device_types="cpu")
def gru_half_layer(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run one layer over all steps: the equations of `torch.nn.GRU`, whose gates r, z, n stand in this order.

    Args:
        inputs: (N, B, I) float32 or bfloat16.
        weight_ih: (3H, I) float32.
        weight_hh: (3H, H) float32.
        bias_ih: (3H,) float32.
        bias_hh: (3H,) float32.
        initial: (B, H) float32.
        lengths: (B,) int64, non-increasing, each at most N; None for N. Beyond its length a state is the last one.

    Returns:
        states (N + 1, B, Hp) bfloat16, the initial one first; final (B, Hp) float32; and for the gradient, gates
        (N B, 3Hp) and candidates (N B, Hp), bfloat16, step by step without the steps beyond a length.
    """
    hidden, width, batch = weight_hh.shape[1], inputs.shape[2], inputs.shape[1]
    expected = {
        "weight_ih": (weight_ih, (3 * hidden, width)),
        "weight_hh": (weight_hh, (3 * hidden, hidden)),
        "bias_ih": (bias_ih, (3 * hidden,)),
        "bias_hh": (bias_hh, (3 * hidden,)),
        "initial": (initial, (batch, hidden)),
    }
    check_float32("gru_half_layer", expected)
    lengths = check_lengths("gru_half_layer", lengths, batch)
    weights = _Weights(weight_ih, weight_hh)
    inputs, initial = _vectors(inputs), initial.contiguous()
    steps, batch, _ = inputs.shape
    states, final, gates, candidates = _made(inputs, weight_hh)
    bias_ih, bias_hh = bias_ih.contiguous(), bias_hh.contiguous()
    _core.gru_half_forward(
        steps=steps,
        batch=batch,
        hidden=weights.hidden,
        inputs=_described(inputs),
        weights=weights.described,
        input_bias=bias_ih.data_ptr(),
        recurrent_bias=bias_hh.data_ptr(),
        initial=initial.data_ptr(),
        states=states.data_ptr(),
        final=final.data_ptr(),
        gates=gates.data_ptr(),
        candidates=candidates.data_ptr(),
        lengths=_address(lengths),
    )
    if lengths is not None:  # what no step wrote
        for array in (gates, candidates):
            array[int(lengths.sum()) :].zero_()
    return states, final, gates, candidates


@torch.library.custom_op("lvm_fast::gru_half_layer_backward", mutates_args=(), device_types="cpu")
def gru_half_layer_backward(
    grad_states: Tensor | None,
    grad_final: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    lengths: Tensor | None,
    asks_inputs: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N + 1, B, Hp) bfloat16, of all states; None for zeros.
        grad_final: (B, Hp) float32; None for zeros.
        asks_inputs: Whether the gradient of the inputs is wanted.

    Returns:
        Gradients of the inputs (N, B, Ip), empty if not asked for, of weight_ih (3, Hp, Ip), weight_hh (3, Hp, Hp),
        bias_ih and bias_hh (3, Hp) each, and the initial state (B, Hp).
    """
    weights = _Weights(weight_ih, weight_hh)
    inputs = _vectors(inputs)
    steps, batch, _ = inputs.shape
    lengths = check_lengths("gru_half_layer_backward", lengths, batch)
    given = None if grad_states is None else grad_states.contiguous()
    last = torch.zeros_like(states[0], dtype=torch.float32) if grad_final is None else grad_final.contiguous()
    grads = _made_backward(inputs, states, asks_inputs)
    grad_inputs, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_initial = grads
    _core.gru_half_backward(
        steps=steps,
        batch=batch,
        hidden=weights.hidden,
        inputs=_described(inputs),
        weights=weights.described,
        states=states.data_ptr(),
        gates=gates.data_ptr(),
        candidates=candidates.data_ptr(),
        grad_states=_address(given),
        grad_final=last.data_ptr(),
        grad_inputs=_described(grad_inputs) if asks_inputs else (0, False, 0, 0),
        grad_input=grad_ih.data_ptr(),
        grad_recurrent=grad_hh.data_ptr(),
        grad_input_bias=grad_bias_ih.data_ptr(),
        grad_recurrent_bias=grad_bias_hh.data_ptr(),
        grad_initial=grad_initial.data_ptr(),
        lengths=_address(lengths),
    )
    return grads


class _Weights:
    """The weights as the core reads them, and alive as long as this."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor) -> None:
        self._ih = weight_ih if weight_ih.stride(1) == 1 else weight_ih.contiguous()
        self._hh = weight_hh.contiguous()
        self.hidden = weight_hh.shape[1]
        self.described = (self._ih.data_ptr(), self._hh.data_ptr(), self._ih.shape[1], self._ih.stride(0))


def _vectors(inputs: Tensor) -> Tensor:
    if inputs.dtype not in (torch.float32, torch.bfloat16):
        inputs = inputs.float()
    return inputs if inputs.stride(2) == 1 else inputs.contiguous()


def _described(vectors: Tensor) -> tuple[int, bool, int, int]:
    return vectors.data_ptr(), vectors.dtype == torch.bfloat16, vectors.stride(0), vectors.stride(1)


def _address(array: Tensor | None) -> int:
    return 0 if array is None else array.data_ptr()


def _made(inputs: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    steps, batch, _ = inputs.shape
    width, half = padded(weight_hh.shape[1]), torch.bfloat16
    return (
        inputs.new_empty(steps + 1, batch, width, dtype=half),
        inputs.new_empty(batch, width, dtype=torch.float32),
        inputs.new_empty(steps * batch, 3 * width, dtype=half),
        inputs.new_empty(steps * batch, width, dtype=half),
    )


def _made_backward(
    inputs: Tensor, states: Tensor, asks_inputs: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    (steps, batch, width), (_, _, hidden) = inputs.shape, states.shape
    wide, single = padded(width), torch.float32
    by_sequence = inputs.stride(1) > inputs.stride(0)  # laid out as the inputs are, so that no one need copy it
    outer = (batch, steps) if by_sequence else (steps, batch)
    grad_inputs = inputs.new_empty(*outer, wide) if asks_inputs else inputs.new_empty(0, 0, wide)
    return (
        grad_inputs.transpose(0, 1) if by_sequence else grad_inputs,
        states.new_empty(3, hidden, wide, dtype=single),
        states.new_empty(3, hidden, hidden, dtype=single),
        states.new_empty(3, hidden, dtype=single),
        states.new_empty(3, hidden, dtype=single),
        states.new_empty(batch, hidden, dtype=single),
    )


@gru_half_layer.register_fake
def _(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _made(inputs, weight_hh)


@gru_half_layer_backward.register_fake
def _(
    grad_states: Tensor | None,
    grad_final: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    lengths: Tensor | None,
    asks_inputs: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    return _made_backward(_vectors(inputs), states, asks_inputs)


def _save_layer(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    vectors, weight_ih, weight_hh, _, _, _, lengths = inputs
    states, _, gates, candidates = output
    ctx.save_for_backward(vectors, weight_ih, weight_hh, states, gates, candidates, lengths)
    ctx.mark_non_differentiable(gates, candidates)
    ctx.set_materialize_grads(False)


def _layer_backward(ctx: Any, grad_states: Tensor | None, grad_final: Tensor | None, *unused: Any) -> tuple[Any, ...]:
    kept = ctx.saved_tensors  # asked for once: checkpointing computes them then
    inputs, weight_ih, *_ = kept
    asks_inputs = ctx.needs_input_grad[0]
    backward = torch.ops.lvm_fast.gru_half_layer_backward
    grads = backward(grad_states, grad_final, *kept, asks_inputs)
    grad_inputs, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_initial = grads
    hidden, width = weight_ih.shape[0] // 3, inputs.shape[2]
    return (
        grad_inputs[..., :width].to(inputs.dtype) if asks_inputs else None,
        grad_ih[:, :hidden, :width].reshape(3 * hidden, width),
        grad_hh[:, :hidden, :hidden].reshape(3 * hidden, hidden),
        grad_bias_ih[:, :hidden].reshape(-1),
        grad_bias_hh[:, :hidden].reshape(-1),
        grad_initial[:, :hidden],
        None,
    )


gru_half_layer.register_autograd(_layer_backward, setup_context=_save_layer)

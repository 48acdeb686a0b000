"""One GRU layer in bfloat16, input projection included, as torch operators: autograd and torch.compile on the CPU.

Products take bfloat16 numbers and sum in float32; the state goes from step to step in float32. Widths inside are padded
to whole tiles: Hp and Ip are H and I rounded up to multiples of 32.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._core import gru_half_backward, gru_half_forward, has_half_gru
from .._util.operators import check_lengths, check_tensors, define_operator
from .._util.torch_compat import constant_for_compiler
from .gru_naive import run_layer, run_layer_and_back, within

_TILE = 32
_VECTORS = (torch.float32, torch.bfloat16)


def padded(width: int) -> int:
    """Return the width in whole tiles."""
    return -(-width // _TILE) * _TILE


@constant_for_compiler
def bf16_is_offered() -> bool:
    """Whether the instruction set in force has the bfloat16 products (AMX, AVX512-BF16) that these operators need."""
    return has_half_gru()


def _fake(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    _check("gru_bf16_layer", inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial, lengths)
    return _made(inputs, weight_hh)


def _check(
    operator: str,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> None:
    (steps, batch, width), hidden = (*inputs.shape, 0, 0, 0)[:3], weight_hh.shape[-1]
    check_tensors(
        operator,
        inputs=(inputs, _VECTORS, (steps, batch, width)),
        weight_ih=(weight_ih, torch.float32, (3 * hidden, width)),
        weight_hh=(weight_hh, torch.float32, (3 * hidden, hidden)),
        bias_ih=(bias_ih, torch.float32, (3 * hidden,)),
        bias_hh=(bias_hh, torch.float32, (3 * hidden,)),
        initial=(initial, torch.float32, (batch, hidden)),
        lengths=(lengths, torch.int64, (batch,)),
    )


def _plain(
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same results but for rounding: float32 products of bfloat16 numbers."""
    vectors = _rounded(inputs if lengths is None else within(inputs, lengths))
    projected = F.linear(vectors, _rounded(weight_ih), bias_ih)
    states, gates, candidates = run_layer(projected, _rounded(weight_hh), bias_hh, initial, lengths)
    every, final, candidates = _widened(states), _widened(states[-1]), _widened(candidates)
    gates = torch.cat([_widened(gate) for gate in gates.chunk(3, dim=2)], dim=2)  # (N, B, 3Hp)
    return every.bfloat16(), final, _packed(gates, lengths).bfloat16(), _packed(candidates, lengths).bfloat16()


def _widened(tensor: Tensor) -> Tensor:
    """Whole tiles (..., Hp) of (..., H)."""
    width = tensor.shape[-1]
    return torch.cat((tensor, tensor.new_zeros(*tensor.shape[:-1], padded(width) - width)), dim=-1)


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.bfloat16().float()


def _packed(rows: Tensor, lengths: Tensor | None) -> Tensor:
    """Rows (N, B, W) one below the other, (N B, W); those within the lengths come first."""
    if lengths is None:
        return rows.flatten(0, 1)
    beyond = (torch.arange(rows.shape[0], device=rows.device)[:, None] >= lengths).flatten()
    return rows.flatten(0, 1)[torch.argsort(beyond.int(), stable=True)]


def _save(ctx: Any, given: tuple[Any, ...], results: tuple[Tensor, ...]) -> None:
    states, _, gates, candidates = results
    ctx.save_for_backward(*given, states, gates, candidates)
    ctx.mark_non_differentiable(gates, candidates)
    ctx.set_materialize_grads(False)


def _differentiate(ctx: Any, grad_states: Tensor | None, grad_final: Tensor | None, *unused: Any) -> tuple[Any, ...]:
    asks_inputs = ctx.needs_input_grad[0]
    grads = gru_bf16_layer_backward(grad_states, grad_final, *ctx.saved_tensors, asks_inputs)
    return grads[0] if asks_inputs else None, *grads[1:], None


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate, device="cpu")
def gru_bf16_layer(
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
    _check("gru_bf16_layer", inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial, lengths)
    steps, batch, _ = inputs.shape
    lengths = check_lengths("gru_bf16_layer", lengths, steps)
    weights = _Weights(weight_ih, weight_hh)
    inputs, initial = _vectors(inputs), initial.contiguous()
    states, final, gates, candidates = _made(inputs, weight_hh)
    bias_ih, bias_hh = bias_ih.contiguous(), bias_hh.contiguous()
    gru_half_forward(
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


def _fake_backward(
    grad_states: Tensor | None, grad_final: Tensor | None, inputs: Tensor, *more: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    *kept, asks_inputs = more
    _check_backward(grad_states, grad_final, inputs, *kept)
    _, weight_hh, *_, states, _, _ = kept
    inputs = _vectors(inputs)
    return _narrowed(_made_backward(inputs, states, asks_inputs), inputs, weight_hh)


def _check_backward(
    grad_states: Tensor | None,
    grad_final: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
) -> None:
    operator, bf16 = "gru_bf16_layer_backward", torch.bfloat16
    _check(operator, inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial, lengths)
    (steps, batch), width = inputs.shape[:2], padded(weight_hh.shape[1])
    check_tensors(
        operator,
        grad_states=(grad_states, bf16, (steps + 1, batch, width)),
        grad_final=(grad_final, torch.float32, (batch, width)),
        states=(states, bf16, (steps + 1, batch, width)),
        gates=(gates, bf16, (steps * batch, 3 * width)),
        candidates=(candidates, bf16, (steps * batch, width)),
    )


def _plain_backward(
    grad_states: Tensor | None,
    grad_final: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    states: Tensor,
    *kept: Any,
) -> tuple[Tensor, ...]:
    hidden = initial.shape[1]
    pulls = torch.zeros_like(states[..., :hidden], dtype=torch.float32)
    if grad_states is not None:
        pulls = pulls + grad_states[..., :hidden].float()
    if grad_final is not None:
        pulls = torch.cat((pulls[:-1], pulls[-1:] + grad_final[:, :hidden]))
    vectors = _rounded(inputs if lengths is None else within(inputs, lengths))
    weights = (_rounded(weight_ih), _rounded(weight_hh), bias_ih, bias_hh)
    grad_inputs, *others = run_layer_and_back(pulls, vectors, *weights, initial, lengths)
    return grad_inputs.to(inputs.dtype), *others


@define_operator(fake=_fake_backward, plain=_plain_backward, device="cpu")
def gru_bf16_layer_backward(
    grad_states: Tensor | None,
    grad_final: Tensor | None,
    inputs: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor,
    bias_hh: Tensor,
    initial: Tensor,
    lengths: Tensor | None,
    states: Tensor,
    gates: Tensor,
    candidates: Tensor,
    asks_inputs: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N + 1, B, Hp) bfloat16, of all states; None for zeros.
        grad_final: (B, Hp) float32; None for zeros.
        inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial, lengths: What `gru_bf16_layer` took.
        states, gates, candidates: What it gave.
        asks_inputs: Whether the gradient of the inputs is wanted.

    Returns:
        Gradients of the inputs (N, B, I), empty if not asked for, of weight_ih (3H, I), weight_hh (3H, H), bias_ih and
        bias_hh (3H,), and the initial state (B, H).
    """
    kept = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial, lengths, states, gates, candidates)
    _check_backward(grad_states, grad_final, *kept)
    lengths = check_lengths("gru_bf16_layer_backward", lengths, inputs.shape[0])
    weights = _Weights(weight_ih, weight_hh)
    inputs = _vectors(inputs)
    steps, batch, _ = inputs.shape
    states, gates, candidates = states.contiguous(), gates.contiguous(), candidates.contiguous()
    given = None if grad_states is None else grad_states.contiguous()
    last = torch.zeros_like(states[0], dtype=torch.float32) if grad_final is None else grad_final.contiguous()
    grads = _made_backward(inputs, states, asks_inputs)
    grad_inputs, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_initial = grads
    gru_half_backward(
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
    return _narrowed(grads, inputs, weight_hh)


class _Weights:
    """The weights as the core reads them, and alive as long as this."""

    def __init__(self, weight_ih: Tensor, weight_hh: Tensor) -> None:
        self._ih = weight_ih if weight_ih.stride(1) == 1 else weight_ih.contiguous()
        self._hh = weight_hh.contiguous()
        self.hidden = weight_hh.shape[1]
        self.described = (self._ih.data_ptr(), self._hh.data_ptr(), self._ih.shape[1], self._ih.stride(0))


def _vectors(inputs: Tensor) -> Tensor:
    return inputs if inputs.stride(2) == 1 else inputs.contiguous()


def _described(vectors: Tensor) -> tuple[int, bool, int, int]:
    return vectors.data_ptr(), vectors.dtype == torch.bfloat16, vectors.stride(0), vectors.stride(1)


def _address(array: Tensor | None) -> int:
    return 0 if array is None else array.data_ptr()


def _made(inputs: Tensor, weight_hh: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    steps, batch, _ = inputs.shape
    width, bf16 = padded(weight_hh.shape[1]), torch.bfloat16
    return (
        inputs.new_empty(steps + 1, batch, width, dtype=bf16),
        inputs.new_empty(batch, width, dtype=torch.float32),
        inputs.new_empty(steps * batch, 3 * width, dtype=bf16),
        inputs.new_empty(steps * batch, width, dtype=bf16),
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


def _narrowed(
    grads: tuple[Tensor, ...], inputs: Tensor, weight_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients without the padding of their widths."""
    grad_inputs, grad_ih, grad_hh, grad_bias_ih, grad_bias_hh, grad_initial = grads
    hidden, width = weight_hh.shape[1], inputs.shape[2]
    return (
        grad_inputs[..., :width],
        grad_ih[:, :hidden, :width].reshape(3 * hidden, width),
        grad_hh[:, :hidden, :hidden].reshape(3 * hidden, hidden),
        grad_bias_ih[:, :hidden].reshape(-1),
        grad_bias_hh[:, :hidden].reshape(-1),
        grad_initial[:, :hidden],
    )

"""One GRU layer of cuDNN as torch operators: the compiler would unroll `torch.gru` step by step."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .._util.operators import check_tensors, define_operator
from .._util.torch_compat import constant_for_compiler
from .gru_naive import run_layer, run_layer_and_back

_GRU = 3  # cuDNN's number of the mode
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@constant_for_compiler
def cudnn_is_offered() -> bool:
    """Return whether this build of torch runs recurrences in cuDNN, and is set to."""
    cudnn = torch.backends.cudnn
    return torch.version.cuda is not None and cudnn.enabled and cudnn.is_available()  # type: ignore[no-untyped-call]


def _parts(weights: Tensor, width: int, hidden: int) -> list[Tensor]:
    """W_ih (3H, I), W_hh (3H, H), b_ih and b_hh (3H,) as views."""
    rows = 3 * hidden
    ih, hh, *biases = torch.split(weights, [rows * width, rows * hidden, rows, rows])
    return [ih.view(rows, width), hh.view(rows, hidden), *biases]


def _fake(inputs: Tensor, initial: Tensor, weights: Tensor, for_gradient: bool) -> tuple[Tensor, Tensor]:
    _check("gru_cudnn_layer", inputs, initial, weights)
    steps, batch, width = inputs.shape
    hidden = initial.shape[-1]
    sizes = (steps, batch, width, hidden)
    bytes_of_notes: int | torch.SymInt = (
        _bytes_of_notes(*sizes, for_gradient, inputs.dtype, inputs.device)
        if all(isinstance(size, int) for size in sizes)
        else torch.library.get_ctx().new_dynamic_size()
    )
    return inputs.new_empty(steps, batch, hidden), inputs.new_empty(bytes_of_notes, dtype=torch.uint8)


def _check(operator: str, inputs: Tensor, initial: Tensor, weights: Tensor) -> None:
    (steps, batch, width), hidden, dtype = (*inputs.shape, 0, 0, 0)[:3], initial.shape[-1], inputs.dtype
    check_tensors(
        operator,
        inputs=(inputs, _FLOATS, (steps, batch, width)),
        initial=(initial, dtype, (batch, hidden)),
        weights=(weights, dtype, (3 * hidden * (width + hidden + 2),)),
    )


def _plain(inputs: Tensor, initial: Tensor, weights: Tensor, for_gradient: bool) -> tuple[Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = _parts(weights, inputs.shape[-1], initial.shape[-1])
    states, _, _ = run_layer(F.linear(inputs, weight_ih, bias_ih), weight_hh, bias_hh, initial, None)
    return states[1:], inputs.new_zeros(0, dtype=torch.uint8)


def _save(ctx: Any, given: tuple[Any, ...], results: tuple[Tensor, Tensor]) -> None:
    *tensors, _ = given
    ctx.save_for_backward(*tensors, *results)
    ctx.mark_non_differentiable(results[1])


def _differentiate(ctx: Any, grad_states: Tensor, _: Any) -> tuple[Tensor | None, ...]:
    return (*gru_cudnn_layer_backward(grad_states, *ctx.saved_tensors), None)


@cache
def _bytes_of_notes(
    steps: int, batch: int, width: int, hidden: int, for_gradient: bool, dtype: torch.dtype, device: torch.device
) -> int:
    """Return how many bytes cuDNN notes at these sizes; known sizes let the compiler record CUDA graphs."""

    def ask() -> int:
        shapes = [(steps, batch, width), (batch, hidden), (3 * hidden * (width + hidden + 2),)]
        inputs, initial, weights = (torch.empty(shape, dtype=dtype, device=device) for shape in shapes)
        return int(gru_cudnn_layer(inputs, initial, weights, for_gradient)[1].numel())

    with ThreadPoolExecutor(1) as apart:  # a thread of its own is free of the compiler's modes
        return apart.submit(ask).result()


@define_operator(fake=_fake, plain=_plain, save=_save, backward=_differentiate, device="cuda")
def gru_cudnn_layer(inputs: Tensor, initial: Tensor, weights: Tensor, for_gradient: bool) -> tuple[Tensor, Tensor]:
    """Run one layer over all steps: the equations of `torch.nn.GRU`, all tensors of one dtype.

    Args:
        inputs: (N, B, I).
        initial: (B, H).
        weights: (3H (I + H + 2),): W_ih, W_hh, b_ih and b_hh after each other, as cuDNN has them.
        for_gradient: Keep what the backward pass needs.

    Returns:
        States after every step (N, B, H), and cuDNN's own notes for the gradient.
    """
    _check("gru_cudnn_layer", inputs, initial, weights)
    hidden = initial.shape[-1]
    parts = _parts(weights, inputs.shape[-1], hidden)
    # mode, H, projected, layers, batch_first, dropout, train, both ways
    settings = (_GRU, hidden, 0, 1, False, 0.0, for_gradient, False)
    with torch.autocast("cuda", enabled=False):
        states, _, _, notes, _ = torch._cudnn_rnn(
            inputs.contiguous(), parts, len(parts), weights, initial[None].contiguous(), None, *settings, [], None
        )
    return states, notes


def _fake_backward(
    grad_states: Tensor, inputs: Tensor, initial: Tensor, weights: Tensor, states: Tensor, notes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_backward(grad_states, inputs, initial, weights, states, notes)
    return inputs.new_empty(inputs.shape), initial.new_empty(initial.shape), weights.new_empty(weights.shape)


def _check_backward(
    grad_states: Tensor, inputs: Tensor, initial: Tensor, weights: Tensor, states: Tensor, notes: Tensor
) -> None:
    operator, shape = "gru_cudnn_layer_backward", (*inputs.shape[:2], initial.shape[-1])
    _check(operator, inputs, initial, weights)
    check_tensors(
        operator,
        grad_states=(grad_states, inputs.dtype, shape),
        states=(states, inputs.dtype, shape),
        notes=(notes, torch.uint8, (notes.numel(),)),
    )


def _plain_backward(
    grad_states: Tensor, inputs: Tensor, initial: Tensor, weights: Tensor, states: Tensor, notes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    weight_ih, weight_hh, bias_ih, bias_hh = _parts(weights, inputs.shape[-1], initial.shape[-1])
    every = torch.cat((torch.zeros_like(grad_states[:1]), grad_states))
    layer = (inputs, weight_ih, weight_hh, bias_ih, bias_hh, initial)
    grad_inputs, *grad_parts, grad_initial = run_layer_and_back(every, *layer, None)
    return grad_inputs, grad_initial, torch.cat([grad.flatten() for grad in grad_parts])


@define_operator(fake=_fake_backward, plain=_plain_backward, device="cuda")
def gru_cudnn_layer_backward(
    grad_states: Tensor, inputs: Tensor, initial: Tensor, weights: Tensor, states: Tensor, notes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Go back through time.

    Args:
        grad_states: (N, B, H), of all states.
        inputs, initial, weights: What `gru_cudnn_layer` took.
        states, notes: What it gave, for a gradient.

    Returns:
        Gradients of the inputs, the initial state and the weights.
    """
    _check_backward(grad_states, inputs, initial, weights, states, notes)
    if notes.numel() == 0:
        raise ValueError("gru_cudnn_layer_backward: notes are empty; expected those of a layer run for_gradient")
    hidden = initial.shape[-1]
    parts = _parts(weights, inputs.shape[-1], hidden)
    given = (inputs.contiguous(), parts, len(parts), weights, initial[None].contiguous(), None, states)
    settings = (_GRU, hidden, 0, 1, False, 0.0, True, False)
    notes = notes.clone()  # cuDNN overwrites them, and a graph may be gone through again
    grad_inputs, grad_initial, _, grad_parts = torch.ops.aten._cudnn_rnn_backward(
        *given, grad_states.contiguous(), None, None, *settings, [], None, notes, [True, True, False, True]
    )
    return grad_inputs, grad_initial[0].clone(), torch.cat([grad.flatten() for grad in grad_parts])

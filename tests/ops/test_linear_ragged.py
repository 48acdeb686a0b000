"""Linear maps within lengths against float64, with rubbish beyond the lengths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lvm_fast.ops.linear_ragged import linear_gradients_within, linear_within

LENGTHS = [[], [1], [4], [7, 3, 1], [5, 5, 5], [6, 6, 2, 2, 1], [3, 1, 0, 0]]


def check(lengths: list[int], width: int, out: int, with_bias: bool, rubbish: float) -> None:
    torch.manual_seed(0)
    steps, within = max(lengths, default=3), torch.tensor(lengths, dtype=torch.int64)
    inside = torch.arange(steps)[:, None] < within  # (N, B)
    inputs = torch.randn(steps, len(lengths), width).masked_fill(~inside[..., None], rubbish).requires_grad_()
    weight, bias = torch.randn(out, width, requires_grad=True), torch.randn(out, requires_grad=True)
    learned = [inputs, weight, bias] if with_bias else [inputs, weight]
    mapped = linear_within(inputs, weight, bias if with_bias else None, within)
    grad = torch.randn_like(mapped).masked_fill(~inside[..., None], rubbish)
    found = [mapped, *torch.autograd.grad(mapped, learned, grad)]

    exact = [tensor.detach().double().requires_grad_() for tensor in learned]
    expected = F.linear(exact[0][inside], *exact[1:])  # only what lies within
    slopes = list(torch.autograd.grad(expected, exact, grad[inside].double()))
    results = [found[0][inside], found[1][inside], *found[2:]]
    for mine, reference in zip(results, [expected, slopes[0][inside], *slopes[1:]], strict=True):
        torch.testing.assert_close(mine.double(), reference, atol=1e-5, rtol=1e-5)
    assert not found[0][~inside].any()
    assert not found[1][~inside].any()


@pytest.mark.parametrize("rubbish", [0.0, 1e30, float("nan")])
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("lengths", LENGTHS)
def test_values_and_gradients_agree_with_float64(lengths, with_bias, rubbish):
    check(lengths, 5, 7, with_bias, rubbish)


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9), st.integers(1, 20), st.integers(1, 20))
def test_any_lengths_and_widths(lengths, width, out):
    check(sorted(lengths, reverse=True), width, out, True, float("inf"))


@pytest.mark.parametrize("lengths", LENGTHS[2:5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_operators_keep_torchs_rules(lengths, dtype):
    steps, batch = max(lengths), len(lengths)
    inputs, weight, bias, grad = (
        torch.randn(*shape, dtype=dtype, requires_grad=True)
        for shape in ((steps, batch, 3), (5, 3), (5,), (steps, batch, 5))
    )
    torch.library.opcheck(linear_within, (inputs, weight, bias, torch.tensor(lengths)))
    torch.library.opcheck(linear_within, (inputs, weight, None, torch.tensor(lengths)))
    torch.library.opcheck(linear_gradients_within, (grad.detach(), inputs.detach(), torch.tensor(lengths)))

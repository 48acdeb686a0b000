"""The float32 recurrences as torch operators, there and back: the rules of torch, and slopes of what they compute."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvm_fast.ops.gru_f32 import gru_layer, gru_layer_backward
from lvm_fast.ops.gru_naive import run_layer as run_gru_layer
from lvm_fast.ops.lstm_f32 import lstm_layer, lstm_layer_backward
from lvm_fast.ops.lstm_naive import run_layer as run_lstm_layer

LENGTHS = [None, torch.tensor([4, 3, 1])]
GRU = ((4, 3, 15), (15, 5), (15,), (3, 5))
LSTM = ((4, 3, 6), (20, 6), (20, 5), (20,), (3, 5), (3, 5))


def made(shapes: tuple[tuple[int, ...], ...], dtype: torch.dtype = torch.float32) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
def test_an_lstm_keeps_torchs_rules(lengths, reverse):
    given = made(LSTM)
    torch.library.opcheck(lstm_layer, (*given, lengths, reverse))
    with torch.no_grad():
        states, cells, gates, final, cell = lstm_layer(*given, lengths, reverse)
        pulls = [torch.randn_like(tensor) for tensor in (states, final, cell)]
        kept = (*(tensor.detach() for tensor in given), lengths, states, cells, gates, reverse)
        for asks_inputs in (False, True):
            torch.library.opcheck(lstm_layer_backward, (*pulls, *kept, asks_inputs))
        torch.library.opcheck(lstm_layer_backward, (None, None, None, *kept, True))


@pytest.mark.parametrize("lengths", LENGTHS)
def test_a_gru_in_reverse_keeps_torchs_rules(lengths):
    given = made(GRU)
    torch.library.opcheck(gru_layer, (*given, lengths, False, True))
    with torch.no_grad():
        states, gates, candidates = gru_layer(*given, lengths, False, True)
        kept = (given[1].detach(), states, gates, candidates, lengths, False, True)
        torch.library.opcheck(gru_layer_backward, (torch.randn_like(states), *kept))


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("run", "shapes"),
    [
        (lambda given, ends, reverse: gru_layer(*given, ends, False, reverse)[0], GRU),
        (lambda given, ends, reverse: lstm_layer(*given, ends, reverse)[0], LSTM),
        (lambda given, ends, reverse: torch.stack(lstm_layer(*given, ends, reverse)[-2:]), LSTM),
    ],
)
def test_gradients_are_the_slopes_of_what_the_kernels_compute(simd_level, run, shapes, reverse, lengths):
    def results(*exact: Tensor) -> Tensor:  # float32 inside: steps wide enough to rise above its rounding
        wide: Tensor = run([tensor.float() for tensor in exact], lengths, reverse).double()
        return wide

    assert torch.autograd.gradcheck(results, made(shapes, torch.float64), eps=5e-3, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("reverse", [False, True])
def test_kernels_agree_with_their_naive_twins_in_float64(simd_level, lengths, reverse):
    given = made(GRU)
    found = gru_layer(*given, lengths, False, reverse)
    expected = run_gru_layer(*(tensor.double() for tensor in given), lengths, False, reverse)
    torch.testing.assert_close([each.double() for each in found], list(expected), atol=2e-6, rtol=1e-5)
    given = made(LSTM)
    found = lstm_layer(*given, lengths, reverse)
    expected = run_lstm_layer(*(tensor.double() for tensor in given), lengths, reverse)
    torch.testing.assert_close([each.double() for each in found], list(expected), atol=2e-6, rtol=1e-5)
    slopes = torch.autograd.grad(sum(found[i].sin().sum() for i in (0, 3, 4)), given)
    exact = torch.autograd.grad(sum(expected[i].sin().sum() for i in (0, 3, 4)), given)
    torch.testing.assert_close(slopes, exact, atol=1e-5, rtol=1e-4)

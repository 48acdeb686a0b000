"""Our GRU against torch.nn.GRU: states and every gradient, at every instruction set and awkward sizes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvm_fast.models.recurrence import GRU, last_valid

SIZES = [  # input, hidden, layers, batch, length
    (5, 1, 1, 1, 1),
    (7, 7, 2, 3, 4),
    (16, 16, 1, 33, 2),
    (9, 17, 4, 2, 30),
    (8, 65, 2, 5, 7),
    (20, 512, 1, 9, 6),
]


def pair(inputs: int, hidden: int, layers: int, dtype: torch.dtype = torch.float64) -> tuple[GRU, nn.GRU]:
    torch.manual_seed(0)
    ours = GRU(inputs, hidden, layers)
    theirs = nn.GRU(inputs, hidden, layers, batch_first=True).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize(("inputs", "hidden", "layers", "batch", "length"), SIZES)
def test_states_and_gradients_agree_with_torch_in_float64(simd_level, inputs, hidden, layers, batch, length):
    ours, theirs = pair(inputs, hidden, layers)
    x = torch.randn(batch, length, inputs).requires_grad_()
    wide = x.detach().double().requires_grad_()
    weights = torch.randn(batch, length, hidden)
    states, expected = ours(x), theirs(wide)[0]
    torch.testing.assert_close(states.double(), expected, atol=2e-6, rtol=1e-5)
    (states * weights).sum().backward()
    (expected * weights.double()).sum().backward()
    scale = max(float(p.grad.abs().max()) for p in theirs.parameters())
    torch.testing.assert_close(x.grad.double(), wide.grad, atol=1e-5, rtol=1e-4)
    for (name, mine), reference in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        error = float((mine.grad.double() - reference.grad).abs().max())
        assert error <= 1e-5 * scale, f"{name}: off by {error}"


def test_strided_inputs_and_gradients(simd_level):
    ours, theirs = pair(6, 10, 2)
    x = torch.randn(5, 4, 12)[..., ::2].transpose(0, 1)
    torch.testing.assert_close(ours(x).double(), theirs(x.double())[0], atol=2e-6, rtol=1e-5)
    ours(x)[:, -1].sum().backward()  # most steps get no gradient of their own, and an expanded one
    theirs(x.double())[0][:, -1].sum().backward()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad.double(), reference.grad, atol=1e-5, rtol=1e-4)


def test_autocast_keeps_the_recurrence_in_float32():
    ours, theirs = pair(32, 24, 2)
    x = torch.randn(8, 20, 32)
    with torch.autocast("cpu", torch.bfloat16):
        states = ours(x)
        states.sum().backward()
    assert states.dtype == torch.float32
    torch.testing.assert_close(states.double(), theirs(x.double())[0], atol=0.02, rtol=0)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in ours.parameters())


def test_float64_takes_torchs_own_recurrence_and_passes_gradcheck():
    ours = GRU(3, 4, 2).double()
    x = torch.randn(2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ours, (x,))


def test_dropout_lies_between_layers_and_only_in_training():
    torch.manual_seed(0)
    single, double = GRU(4, 6, 1, dropout=0.9), GRU(4, 6, 2, dropout=0.9)
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(single.train()(x), single.eval()(x))
    assert not torch.allclose(double.train()(x), double.eval()(x))


def test_results_do_not_depend_on_the_number_of_threads(restore_threads):
    from lvm_fast import kernels

    ours, _ = pair(8, 31, 2)
    x = torch.randn(13, 9, 8)
    results = []
    for threads in (1, 2, 5):
        kernels.set_num_threads(threads)
        results.append(ours(x))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_last_valid_picks_each_rows_own_last_step():
    states = torch.arange(24.0).reshape(2, 4, 3)
    torch.testing.assert_close(last_valid(states, None), states[:, 3])
    torch.testing.assert_close(last_valid(states, torch.tensor([1, 3])), torch.stack((states[0, 0], states[1, 2])))

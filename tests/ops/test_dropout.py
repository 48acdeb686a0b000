"""Dropout from a seed: its share, its gradient, its types, and the GRU's use of it."""

from __future__ import annotations

import pytest
import torch

import lvm_fast as lf
from lvm_fast.ops.dropout import dropout


def test_dropout_is_a_function_of_torchs_seed():
    ours, x = lf.GRU(6, 20, 2, dropout=0.4), torch.randn(9, 5, 6)
    results = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        results.append(ours(x)[0])
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_passes_gradients_where_it_passes_numbers(dtype):
    x, seed = torch.randn(50, 41, dtype=dtype).requires_grad_(), torch.tensor([-5])
    out = dropout(x, 0.3, seed)
    out.backward(torch.ones_like(out))
    scale = 1 / (1 - round(0.3 * 65536) / 65536)
    torch.testing.assert_close(out, torch.where(x.grad != 0, x * scale, 0), atol=0.02, rtol=0.01)
    torch.testing.assert_close(x.grad[x.grad != 0].float().mean(), torch.tensor(scale), atol=0.01, rtol=0)
    assert 0.25 < (x.grad == 0).float().mean() < 0.35
    torch.library.opcheck(dropout, (x, 0.3, seed))


def test_other_types_are_refused():
    with pytest.raises(
        ValueError, match=r"dropout: x is torch\.float64 \(3,\); expected torch\.float32 or torch\.bfloat16"
    ):
        dropout(torch.zeros(3, dtype=torch.float64), 0.5, torch.tensor([1]))

"""The blockwise normaliser against float64, one candidate after the other."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.ops import infonce
from lvm_fast.ops.infonce import candidate_logsumexp, near_copies


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(infonce, "_BLOCK_SCORES", 1)
    monkeypatch.setattr(infonce, "_LEAST_BLOCK", 7)


def problem(rng, rows=5, count=33, dim=9):
    """Predictions, candidates, and what is masked: row 1 loses every candidate but one, row 2 a whole block."""
    predicted, candidates = unit(rng.standard_normal((rows, dim))), unit(rng.standard_normal((count, dim)))
    pairs = [(0, 3), (0, count - 1), *((1, c) for c in range(count) if c != 20), *((2, c) for c in range(7))]
    return predicted, candidates, np.array(pairs).T


def expected(predicted, candidates, masked, scale):
    gone = set(map(tuple, masked.T))
    kept = [[c for c in range(len(candidates)) if (b, c) not in gone] for b in range(len(predicted))]
    with np.errstate(divide="ignore"):
        return np.array(
            [np.log(np.exp(scale * (candidates[k] @ p)).sum()) for p, k in zip(predicted, kept, strict=True)]
        )


@pytest.mark.parametrize("scale", [1.0, 14.0, 300.0])
@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_it_is_the_definition_in_blocks_and_in_one(rng, small_blocks, monkeypatch, scale, dtype, error):
    given = problem(rng)
    tensors = [torch.from_numpy(array).to(dtype) for array in given[:2]]
    wanted = expected(*given, scale)
    found, mean = candidate_logsumexp(*tensors, torch.from_numpy(given[2]), scale)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=error)
    torch.testing.assert_close(mean[1], tensors[1][20])  # all that is left
    monkeypatch.undo()
    np.testing.assert_allclose(candidate_logsumexp(*tensors, torch.from_numpy(given[2]), scale)[0], wanted, rtol=error)


def test_where_nothing_is_left_it_is_minus_infinity_and_pulls_nowhere(rng, small_blocks):
    predicted, candidates, _ = problem(rng)
    masked = torch.tensor([[3] * 33, list(range(33))])
    predicted = torch.from_numpy(predicted).requires_grad_()
    found, _ = candidate_logsumexp(predicted, torch.from_numpy(candidates), masked, 14.0)
    assert found[3] == -torch.inf
    assert found[[0, 1, 2, 4]].isfinite().all()
    found[3].exp().backward()
    assert (predicted.grad == 0).all()


def test_its_slope_is_its_slope(rng, small_blocks):
    predicted, candidates, masked = map(torch.from_numpy, problem(rng))
    predicted.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: candidate_logsumexp(p, candidates, masked, 2.0)[0], (predicted,))


def test_it_is_a_proper_operator(rng):
    predicted, candidates, masked = map(torch.from_numpy, problem(rng))
    torch.library.opcheck(candidate_logsumexp, (predicted.requires_grad_(), candidates, masked, 2.0))


def test_products_can_take_bfloat16(rng):
    given = problem(rng, rows=40, count=500, dim=64)
    predicted, candidates = (torch.from_numpy(array).float() for array in given[:2])
    found, mean = candidate_logsumexp(predicted, candidates.bfloat16(), torch.from_numpy(given[2]), 14.0)
    exact, slope = candidate_logsumexp(predicted, candidates, torch.from_numpy(given[2]), 14.0)
    assert found.dtype == mean.dtype == torch.float32
    assert (found - exact).abs().max() < 0.05
    assert (mean - slope).norm() / slope.norm() < 0.02


def test_it_holds_a_block_of_scores_at_a_time(rng, monkeypatch):
    monkeypatch.setattr(infonce, "_BLOCK_SCORES", 6400)
    shapes, real = [], torch.threshold_
    monkeypatch.setattr(
        torch, "threshold_", lambda block, *given: (shapes.append(tuple(block.shape)), real(block, *given))[1]
    )
    predicted, candidates = (torch.from_numpy(unit(rng.standard_normal((n, 8)))) for n in (20, 1000))
    candidate_logsumexp(predicted, candidates, torch.empty(2, 0, dtype=torch.int64), 14.0)
    assert shapes == [(20, 320), (20, 320), (20, 320), (20, 40)]


@pytest.mark.parametrize("least", [0.2, 0.995])
def test_near_copies_are_the_pairs_above_the_bound(rng, small_blocks, least):
    predicted, candidates, _ = problem(rng)
    candidates[[4, 30]] = predicted[[0, 2]]
    found = near_copies(torch.from_numpy(predicted), torch.from_numpy(candidates), least)
    pairs = np.argwhere(predicted @ candidates.T >= least)
    assert sorted(map(tuple, found.T.tolist())) == sorted(map(tuple, pairs.tolist()))
    assert {(0, 4), (2, 30)} <= set(map(tuple, pairs.tolist()))

"""The loss against numpy in float64, and the shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from lvm_fast.training.loss import ALIKE, Candidates, next_vector_loss
from lvm_fast.training.schedule import learning_rate


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture
def batch(rng):
    return rng.standard_normal((6, 9)), rng.standard_normal((6, 9)), 3.0 * rng.standard_normal((6, 9))


@pytest.mark.parametrize("alpha", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_the_loss_is_its_formula(batch, alpha, temperature):
    current, delta, target = batch
    predicted, wanted = unit(current + delta), unit(target)
    scores = predicted @ wanted.T / temperature
    right = np.exp(np.diag(scores)) / np.exp(scores).sum(axis=1)
    expected = np.mean((predicted - wanted) ** 2) + 0.5 * np.mean(1 - np.sum(predicted * wanted, axis=1))
    expected += alpha * np.mean(-np.log(right))
    loss = next_vector_loss(*map(torch.from_numpy, batch), alpha, temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def infonce(predicted, target, candidates, places):
    """In float64, the near-copies of the right answer struck out one by one."""
    losses = []
    for row, wanted, place in zip(predicted, target, places, strict=True):
        kept = [c for c, other in enumerate(candidates) if c == place or wanted @ other < ALIKE]
        scores = candidates[kept] @ row / 0.07
        losses.append(np.log(np.exp(scores - scores.max()).sum()) + scores.max() - candidates[place] @ row / 0.07)
    return np.mean(losses)


def test_infonce_over_candidates_leaves_near_copies_out(batch, rng):
    current, delta, target = batch
    predicted, wanted = unit(current + delta), unit(target)
    noise = unit(rng.standard_normal((2, 9)))
    # the same chunk again, a near-copy, and one just too far to be a copy
    more = [wanted[1], unit(wanted[2:3] + 0.05 * noise[:1])[0], unit(wanted[3:4] + 0.2 * noise[1:])[0]]
    candidates, places = np.stack([*more, *wanted[::-1]]), np.arange(8, 2, -1)
    struck = (wanted @ candidates.T >= ALIKE).sum() - len(wanted)
    assert struck == 2
    given = Candidates(torch.from_numpy(candidates), torch.from_numpy(places))
    tensors = [torch.from_numpy(array).requires_grad_() for array in batch]
    loss = next_vector_loss(*tensors, 0.5, 0.07, given)
    base = next_vector_loss(*tensors, 0.0, 0.07, given)
    expected = 0.5 * infonce(predicted, wanted, candidates, places)
    assert (loss - base).item() == pytest.approx(expected, rel=1e-6)
    (slope,) = torch.autograd.grad(loss, tensors[1])
    assert slope.isfinite().all()
    plain = 0.5 * infonce(predicted, wanted, wanted, np.arange(6))  # no copies there: the reference's form
    same = Candidates(torch.from_numpy(wanted), torch.arange(6))
    assert (next_vector_loss(*tensors, 0.5, 0.07, same) - base).item() == pytest.approx(plain, rel=1e-6)
    assert (next_vector_loss(*tensors, 0.5, 0.07) - base).item() == pytest.approx(plain, rel=1e-6)


def test_the_loss_sees_directions_only(batch):
    current, delta, target = map(torch.from_numpy, batch)
    loss = next_vector_loss(current, delta, target, 0.05, 0.07)
    torch.testing.assert_close(next_vector_loss(3 * current, 3 * delta, 0.2 * target, 0.05, 0.07), loss)


def test_a_perfect_prediction_costs_only_its_rivals(batch):
    current, _, target = map(torch.from_numpy, batch)
    assert next_vector_loss(current, target - current, target, 0.0, 0.07).item() == pytest.approx(0.0, abs=1e-7)
    assert next_vector_loss(current, target - current, target, 1.0, 0.07).item() > 0.0


def test_an_equal_target_counts_as_a_wrong_answer():
    same = torch.ones(2, 4, dtype=torch.float64)
    loss = next_vector_loss(torch.zeros_like(same), same, same, 1.0, 0.07)
    assert loss.item() == pytest.approx(np.log(2), abs=1e-6)


def test_gradients_reach_the_delta(batch):
    current, delta, target = map(torch.from_numpy, batch)
    delta.requires_grad_()
    assert torch.autograd.gradcheck(lambda d: next_vector_loss(current, d, target, 0.5, 0.5), (delta,))


def test_warm_up_is_linear_and_ends_at_the_highest_rate():
    rates = [learning_rate(step, 50, 10, 0.2, 0.1) for step in range(50)]
    assert rates[:10] == pytest.approx([0.02 * (step + 1) for step in range(10)])
    assert max(rates) == rates[9] == pytest.approx(0.2)


def test_the_cosine_falls_to_the_floor():
    rates = [learning_rate(step, 50, 10, 0.2, 0.1) for step in range(9, 50)]
    assert all(later < earlier for earlier, later in pairwise(rates))
    assert rates[20] == pytest.approx(0.2 * 0.55)  # half-way
    assert rates[-1] == pytest.approx(0.02)


def test_a_run_may_be_all_warm_up_or_none():
    assert learning_rate(3, 4, 4, 0.2, 0.1) == pytest.approx(0.2)
    assert learning_rate(0, 1, 0, 0.2, 0.1) == pytest.approx(0.02)

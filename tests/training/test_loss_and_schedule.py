"""The loss against numpy in float64, and the shape of the learning rate."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from lvm_fast.ops.infonce import near_copies
from lvm_fast.retrieval.near_duplicates import ALIKE
from lvm_fast.training.fit import learning_rate
from lvm_fast.training.objectives import Negatives, next_vector_loss


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


def infonce(predicted, wanted, shared, own=((),) * 6):
    """In float64, one wrong answer after the other; near-copies of the right one are no shared wrong answers."""
    losses = []
    for row, right, more in zip(predicted, wanted, own, strict=True):
        wrong = [other for other in shared if right @ other < ALIKE] + list(more)
        scores = np.array([right @ row] + [other @ row for other in wrong]) / 0.07
        losses.append(np.log(np.exp(scores - scores[0]).sum()))
    return np.mean(losses)


def test_shared_negatives_leave_near_copies_out(batch, rng):
    current, delta, target = batch
    predicted, wanted = unit(current + delta), unit(target)
    noise = unit(rng.standard_normal((2, 9)))
    # the same chunk again, a near-copy, and one just too far to be a copy
    more = [wanted[1], unit(wanted[2:3] + 0.05 * noise[:1])[0], unit(wanted[3:4] + 0.2 * noise[1:])[0]]
    shared = np.stack([*more, *wanted[::-1]])
    masked = near_copies(torch.from_numpy(wanted), torch.from_numpy(shared), ALIKE)
    assert masked.shape == (2, len(wanted) + 2)
    tensors = [torch.from_numpy(array).requires_grad_() for array in batch]
    loss = next_vector_loss(*tensors, 0.5, 0.07, Negatives(torch.from_numpy(shared), masked))
    base = next_vector_loss(*tensors, 0.0, 0.07)
    assert (loss - base).item() == pytest.approx(0.5 * infonce(predicted, wanted, shared), rel=1e-6)
    (slope,) = torch.autograd.grad(loss, tensors[1])
    assert slope.isfinite().all()
    plain = 0.5 * infonce(predicted, wanted, wanted)  # no copies there: the reference's form
    assert (next_vector_loss(*tensors, 0.5, 0.07) - base).item() == pytest.approx(plain, rel=1e-6)


@pytest.mark.parametrize("shares", [False, True])
def test_a_prediction_s_own_negatives_are_its_alone_and_padding_counts_nothing(batch, rng, shares):
    current, delta, target = batch
    predicted, wanted = unit(current + delta), unit(target)
    own = unit(rng.standard_normal((24, 9))).reshape(6, 4, 9)
    is_there = rng.random((6, 4)) < 0.5
    is_there[:2] = [[False] * 4, [True] * 4]
    shared = unit(rng.standard_normal((11, 9)))
    mine = [vectors[there] for vectors, there in zip(own, is_there, strict=True)]
    expected = infonce(predicted, wanted, shared if shares else wanted, mine)
    own[~is_there] = own[1, 0]  # whatever stands there
    tensors = [torch.from_numpy(array).requires_grad_() for array in batch]
    pair = (torch.from_numpy(shared), torch.empty(2, 0, dtype=torch.int64)) if shares else (None, None)
    negatives = Negatives(*pair, torch.from_numpy(own), torch.from_numpy(is_there))
    loss = next_vector_loss(*tensors, 0.5, 0.07, negatives)
    base = next_vector_loss(*tensors, 0.0, 0.07)
    assert (loss - base).item() == pytest.approx(0.5 * expected, rel=1e-6)
    (slope,) = torch.autograd.grad(loss, tensors[1])
    (alone,) = torch.autograd.grad(next_vector_loss(*tensors, 0.5, 0.07, Negatives(*pair)), tensors[1])
    assert torch.allclose(slope[0], alone[0], rtol=1e-6)  # it has none
    assert not torch.allclose(slope[1], alone[1], rtol=1e-2)


def test_own_negatives_have_their_gradient(batch, rng):
    current, delta, target = map(torch.from_numpy, batch)
    delta.requires_grad_()
    own = torch.from_numpy(unit(rng.standard_normal((12, 9))).reshape(6, 2, 9))
    negatives = Negatives(hard=own, is_there=torch.from_numpy(rng.random((6, 2)) < 0.7))
    assert torch.autograd.gradcheck(lambda d: next_vector_loss(current, d, target, 0.5, 0.5, negatives), (delta,))


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

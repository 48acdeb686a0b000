"""Brackets of scores on a device: they hold the score, and are as narrow as they can be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from device_banks import CPU, HARD_SETS, PRODUCTS
from oracles import fixed_order_scores

from lvm_fast.retrieval.checked_input import matrix_of
from lvm_fast.retrieval.device_block import QueryBlock
from lvm_fast.retrieval.device_rows import Place, ordered_distance, ordered_dot, screened_rows


@pytest.mark.parametrize("dim", [1, 31, 32, 100, 768])
def test_the_documented_order_of_sums(rng, dim):
    a, b = (rng.standard_normal((50, dim)).astype(np.float32) for _ in range(2))
    summed = ordered_dot(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(summed, fixed_order_scores(a, b).diagonal())
    distances = ordered_distance(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_array_equal(-distances, fixed_order_scores(a, b, "l2").diagonal())
    assert not np.signbit(ordered_dot(torch.tensor([[0.0]]), torch.tensor([[-1.0]])).numpy()).any()


@pytest.mark.parametrize("metric", ["ip", "l2"])
@pytest.mark.parametrize("kind", HARD_SETS)
@pytest.mark.parametrize("products", PRODUCTS, ids=str)
def test_brackets_hold_the_score(rng, kind, products, metric):
    place = Place(CPU, CPU, products, 1000)
    vectors = HARD_SETS[kind](rng, 150, 300).astype(np.float32)
    queries = np.concatenate([vectors[:40], rng.standard_normal((20, 300)).astype(np.float32)])
    held = screened_rows(matrix_of(vectors, "").rows, False, place, "vectors")
    block = QueryBlock.of(matrix_of(queries, "").rows, metric, place)
    down, up = block.in_units(torch.from_numpy(fixed_order_scores(queries, vectors, metric)).T)
    lower, upper = block.brackets(held, float(held.rest.max()), 0, 150)
    assert (up >= lower.T).all()
    assert (down <= upper.T).all()
    pairs = torch.cartesian_prod(torch.arange(60), torch.arange(150)).T
    narrow_lower, narrow_upper = (side.view(60, 150) for side in block.narrow(held, *pairs))
    assert (up >= narrow_lower.T).all()
    assert (down <= narrow_upper.T).all()


@pytest.mark.parametrize("kind", HARD_SETS)
def test_norms_are_upper_bounds(rng, kind):
    vectors = HARD_SETS[kind](rng, 150, 300).astype(np.float32)
    held = screened_rows(matrix_of(vectors, "").rows, False, Place(CPU, CPU, torch.float16, 1000), "vectors")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    is_known = (norms == 0) | ((norms > 2.0**-60) & (norms < 2.0**59))
    assert np.isinf(held.norm.numpy()[~is_known & (norms < 2.0**-62)]).all()
    assert (held.norm.numpy() >= norms).all()
    np.testing.assert_allclose(held.norm.numpy()[is_known], norms[is_known], rtol=2e-6)
    np.testing.assert_allclose(held.half_square.numpy()[is_known], norms[is_known] ** 2 / 2, rtol=1e-6)


def test_brackets_are_as_narrow_as_their_numbers_allow(rng, unit_rows):
    rows = matrix_of(unit_rows(100, 768), "").rows
    for products, most in ((torch.float32, 3e-4), (torch.float16, 1.7e-3), (torch.bfloat16, 9e-3)):
        place = Place(CPU, CPU, products, 1 << 20)
        held, block = screened_rows(rows, False, place, ""), QueryBlock.of(rows, "ip", place)
        lower, upper = block.brackets(held, float(held.rest.max()), 0, 100)
        assert 0 < (upper - lower).max() / 2 < most
        lower, upper = block.narrow(held, torch.arange(100), torch.arange(100))
        assert 0 < (upper - lower).max() / 2 < 2.2e-4

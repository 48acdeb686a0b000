"""A bank gives its candidates back as it was given them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.data.vectors import Vectors
from lvm_fast.retrieval.bank import VectorBank


@pytest.mark.parametrize("normalize", [False, True])
def test_the_vectors_are_those_given(normalize):
    given = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    codes = Vectors(np.arange(1, 36, dtype=np.int8).reshape(7, 5), "int8", np.linspace(0.1, 0.7, 7, dtype=np.float32))
    for vectors, expected in (
        (given, given),
        (torch.from_numpy(given), given),
        (given.tolist(), given),
        (codes, codes[:]),
    ):
        bank = VectorBank(vectors, normalize)
        np.testing.assert_array_equal(bank.vectors[:], expected)
        assert bank.vectors[[2, 4]].dtype == np.float32
    bank = VectorBank(given, normalize)
    bank.refill(2 * given[:3])
    np.testing.assert_array_equal(bank.vectors[:], 2 * given[:3])

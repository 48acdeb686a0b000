"""Every training chunk as a candidate, and which of them do not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.ops.rowwise import l2_normalize
from lvm_fast.retrieval import near_duplicates
from lvm_fast.retrieval.near_duplicates import ALIKE
from lvm_fast.training.negatives import whole_bank as module
from lvm_fast.training.negatives.shared_candidates import shared_candidates
from lvm_fast.training.recipe import Recipe

CPU = torch.device("cpu")


@pytest.fixture
def copied(rng):
    """40 rows of 6 numbers of any length; rows 20 to 39 repeat row 3, the last four of them only nearly."""
    rows = rng.standard_normal((40, 6)).astype(np.float32)
    rows[20:] = rows[3] * rng.uniform(0.5, 2, (20, 1))
    rows[36:] += 0.02 * np.linalg.norm(rows[36:], axis=1, keepdims=True) * rng.standard_normal((4, 6))
    return ChainStore(rows, [0, 15, 40])


def made():
    return shared_candidates(Recipe(infonce_batch="bank"), CPU, torch.float32)


def pairs_of(struck):
    return sorted(map(tuple, struck.T.tolist()))


def alike(wanted, vectors):
    return sorted(map(tuple, np.argwhere(wanted @ vectors.T >= ALIKE).tolist()))


@pytest.mark.parametrize("few", [1, 2, 16, 1000])
def test_the_bank_is_every_chunk_and_near_copies_of_each_target_are_struck(copied, monkeypatch, few):
    monkeypatch.setattr(near_duplicates, "_FEW", few)
    shared = made()
    everything = l2_normalize(torch.from_numpy(copied.vectors[:]))
    for targets in ([1, 3, 30, 39], [0, 3, 36]):
        shared.begin(copied, np.array(targets))
        vectors, struck = shared.of(np.array(targets), everything[targets])
        torch.testing.assert_close(vectors, everything)
        assert pairs_of(struck) == alike(everything[targets].numpy(), everything.numpy())
        assert len(struck.T) > 16


def test_near_copies_are_looked_up_once_a_target(copied, monkeypatch):
    asked = []
    band = module.VectorBank.band
    monkeypatch.setattr(
        module.VectorBank, "band", lambda self, rows, *given: (asked.append(len(rows)), band(self, rows, *given))[1]
    )
    shared = made()
    for targets in ([1, 2], [2, 1], [2, 5]):
        shared.begin(copied, np.array(targets))
    assert asked == [2, 1]


def test_another_store_is_another_bank(copied, store):
    shared = made()
    for each in (copied, store):
        shared.begin(each, np.array([0]))
        vectors, _ = shared.of(np.array([0]), l2_normalize(torch.from_numpy(each.vectors[:1])))
        assert vectors.shape == each.vectors.shape


def test_the_bank_takes_the_precision_of_training(copied):
    shared = shared_candidates(Recipe(infonce_batch="bank"), CPU, torch.bfloat16)
    shared.begin(copied, np.array([0]))
    assert shared.of(np.array([0]), torch.from_numpy(copied.vectors[:1]))[0].dtype == torch.bfloat16

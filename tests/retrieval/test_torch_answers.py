"""`bank.torch`: the bank's own answers as tensors, where the queries lie."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import lvm_fast as lf

VECTORS = np.random.default_rng(3).integers(-9, 10, (40, 6)).astype(np.float32)
BANK = lf.VectorBank(VECTORS)
QUESTIONS = {
    "rank": lambda bank, q, ids: bank.rank(q, ids),
    "rank with a limit": lambda bank, q, ids: bank.rank(q, ids, max_rank=2),
    "pair_scores": lambda bank, q, ids: bank.pair_scores(q, ids),
    "topk": lambda bank, q, ids: bank.topk(q, 3),
    "topk by name": lambda bank, q, ids: bank.topk(queries=q, k=3),
    "band": lambda bank, q, ids: bank.band(q, 0, 50, 4),
    "scored_band": lambda bank, q, ids: bank.scored_band(q, 0, np.inf, limit=4),
    "logsumexp": lambda bank, q, ids: bank.logsumexp(q, 0.01),
}
KINDS = {"numpy": np.asarray, "list": np.ndarray.tolist, "torch": torch.from_numpy}


@pytest.mark.parametrize("one", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("question", QUESTIONS)
def test_tensors_and_arrays_say_the_same(question, kind, one):
    queries, ids = KINDS[kind](VECTORS[1] if one else VECTORS[:5]), 7 if one else torch.arange(5)
    arrays = QUESTIONS[question](BANK, queries, ids)
    tensors = QUESTIONS[question](BANK.torch, queries, ids)
    for array, tensor in zip(
        *[said if isinstance(said, tuple) else (said,) for said in (arrays, tensors)], strict=True
    ):
        assert isinstance(array, np.ndarray | np.generic)
        assert isinstance(tensor, torch.Tensor)
        assert not tensor.requires_grad
        assert tensor.device == torch.device("cpu")
        assert str(tensor.dtype) == f"torch.{array.dtype}"
        np.testing.assert_array_equal(tensor.numpy(), array)


def test_arrays_are_the_answer_to_tensors_too():
    asked = torch.from_numpy(VECTORS[:5]).requires_grad_()
    assert type(BANK.topk(asked, 2)[0]) is np.ndarray
    assert torch.equal(BANK.torch.topk(asked, 2)[1], torch.from_numpy(BANK.topk(VECTORS[:5], 2)[1]))


def test_mistakes_are_the_banks_own():
    with pytest.raises(ValueError, match=r"VectorBank\.topk: k: expected at least 1"):
        BANK.torch.topk(VECTORS, 0)
    assert repr(BANK.torch) == "VectorBank(40 x 6, normalize=False).torch"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_answers_lie_where_the_queries_do():
    scores, ids = BANK.torch.topk(torch.from_numpy(VECTORS[:5]).cuda(), 2)
    assert (scores.device.type, ids.device.type) == ("cuda", "cuda")
    np.testing.assert_array_equal(ids.cpu().numpy(), BANK.topk(VECTORS[:5], 2)[1])

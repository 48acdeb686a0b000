"""What a bank takes as vectors, queries, ids and numbers: what means the same, and one clear error for the rest."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from oracles import best_first, fixed_order_scores

import lvm_fast as lf
from lvm_fast.retrieval.sharded import ShardedBank

VECTORS = np.random.default_rng(3).integers(-9, 10, (40, 6)).astype(np.float32)  # whole: every dtype below has them
QUERIES = VECTORS[:5] + 1
SCORES = fixed_order_scores(QUERIES, VECTORS)
BEST = best_first(SCORES)[:, :3]

KINDS = {
    "list": lambda x: x.tolist(),
    "tuple of lists": lambda x: tuple(x.tolist()),
    "list of whole numbers": lambda x: x.astype(int).tolist(),
    "list of arrays": list,
    "list of tensors": lambda x: list(torch.from_numpy(x)),
    "float64": lambda x: x.astype(np.float64),
    "int64": lambda x: x.astype(np.int64),
    "int16": lambda x: x.astype(np.int16),
    "uint32": lambda x: (x + 10).astype(np.uint32),
    "other byte order": lambda x: x.astype(">f4"),
    "float64 of other byte order": lambda x: x.astype(">f8"),
    "matrix": np.matrix,
    "array-like": lambda x: ArrayLike(x),
    "tensor float64": lambda x: torch.from_numpy(x).double(),
    "tensor int32": lambda x: torch.from_numpy(x).int(),
    "tensor with gradient": lambda x: torch.from_numpy(x).double().requires_grad_(),
    "negated tensor": lambda x: torch._neg_view(torch.from_numpy(-x).double()),
    "numbers apart": lambda x: np.repeat(x, 2, axis=1)[:, ::2],
    "columns first": np.asfortranarray,
    "backwards": lambda x: x[:, ::-1].copy()[:, ::-1],
    "tensor, columns first": lambda x: torch.from_numpy(x).T.contiguous().T,
    "tensor with gradient, columns first": lambda x: torch.from_numpy(x).T.contiguous().T.requires_grad_(),
    "subclass of tensor": lambda x: torch.from_numpy(x).as_subclass(Subclass),
}


class ArrayLike:
    """As a data frame is one."""

    def __init__(self, x: np.ndarray) -> None:
        self.x = x

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.x.astype(np.float64)


class Subclass(torch.Tensor):
    pass


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bank_of", [lf.VectorBank, lambda vectors: ShardedBank(vectors, 0)])
def test_what_converts_without_loss_answers_as_its_float32(kind, bank_of):
    shift = 10 * (kind == "uint32")
    order = best_first(fixed_order_scores(QUERIES + shift, VECTORS + shift))
    bank = bank_of(KINDS[kind](VECTORS))
    scores, ids = bank.topk(KINDS[kind](QUERIES), 3)
    np.testing.assert_array_equal(ids, order[:, :3])
    assert scores.dtype == np.float32
    assert bank.rank(KINDS[kind](QUERIES), order[:, 2]).tolist() == [2] * 5


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_takes_them(kind):
    shift = 10 * (kind == "uint32")
    scores = fixed_order_scores(QUERIES + shift, VECTORS + shift)
    bank, queries = lf.VectorBank(VECTORS + shift), KINDS[kind](QUERIES)
    low = float(np.quantile(scores, 0.9))
    found, ids = bank.scored_band(queries, low, np.inf, 4)
    expected = [[i for i in row if scores[b, i] >= low][:4] for b, row in enumerate(best_first(scores))]
    assert [row[row >= 0].tolist() for row in ids] == expected
    np.testing.assert_array_equal(bank.pair_scores(queries, [7] * 5), scores[:, 7])
    assert bank.logsumexp(queries)[1].tolist() == scores.argmax(axis=1).tolist()
    assert lf.hit_at_k(KINDS[kind](QUERIES), KINDS[kind](QUERIES), ks=[5])["hit@5"] == 1.0
    bank.refill(KINDS[kind](VECTORS))
    assert bank.topk(VECTORS[3:4] * 100, 1)[1].shape == (1, 1)
    assert np.isfinite(found[ids >= 0]).all()


def test_float64_is_rounded_to_float32():
    vectors = np.random.default_rng(0).standard_normal((50, 8))
    bank = lf.VectorBank(vectors)
    np.testing.assert_array_equal(
        bank.pair_scores(vectors, np.arange(50)), np.diag(fixed_order_scores(*[vectors.astype(np.float32)] * 2))
    )
    vectors[:] = 0  # the bank has a copy
    assert bank.rank(np.ones(8), 0) >= 0


def test_a_long_conversion_is_the_same_block_by_block(monkeypatch):
    monkeypatch.setattr("lvm_fast.retrieval.checked_input._NUMBERS_AT_ONCE", 20)
    np.testing.assert_array_equal(lf.VectorBank(VECTORS.astype(np.float64)).topk(QUERIES.tolist(), 3)[1], BEST)
    np.testing.assert_array_equal(lf.VectorBank(np.asfortranarray(VECTORS)).topk(QUERIES, 3)[1], BEST)
    with pytest.raises(
        ValueError, match="vectors: row 23 holds 1e\\+39 as its largest number; expected float32's range"
    ):
        lf.VectorBank(np.where(np.arange(40)[:, None] == 23, 1e39, VECTORS.astype(np.float64)))


@pytest.mark.parametrize(
    "bank", [lf.VectorBank(VECTORS), ShardedBank(VECTORS, 0)], ids=lambda bank: type(bank).__name__
)
@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy, list, lambda q: q.astype(np.float64)])
def test_one_query_has_an_answer_without_the_first_dimension(bank, kind):
    for b in range(5):
        scores, ids = bank.topk(kind(QUERIES[b]), 3)
        assert (scores.shape, ids.shape) == ((3,), (3,))
        assert ids.tolist() == BEST[b].tolist()
        assert scores.tolist() == SCORES[b, BEST[b]].tolist()
        assert bank.rank(kind(QUERIES[b]), BEST[b, 1]) == 1
        assert bank.rank(kind(QUERIES[b]), int(BEST[b, 2]), max_rank=1) == 1
        assert np.ndim(bank.rank(kind(QUERIES[b]), np.int64(3))) == 0


def test_one_query_of_the_other_questions():
    bank = lf.VectorBank(VECTORS)
    found, ids = bank.scored_band(QUERIES[1], -np.inf, np.inf, 4, exclude=BEST[1, :1], below=SCORES[1, BEST[1, 0]] + 1)
    order = best_first(SCORES)[1]
    assert ids.tolist() == order[1:5].tolist()
    assert found.tolist() == SCORES[1, order[1:5]].tolist()
    assert bank.band(QUERIES[1], -np.inf, np.inf, 4).tolist() == order[:4].tolist()
    assert bank.pair_scores(QUERIES[1], 7) == SCORES[1, 7]
    total, best = bank.logsumexp(QUERIES[1], 0.01)
    assert best == order[0]
    assert total == pytest.approx(np.log(np.exp(0.01 * SCORES[1]).sum()), rel=1e-6)
    assert lf.hit_at_k(QUERIES[1], order[4], bank=bank) == {
        "hit@1": 0.0, "hit@5": 1.0, "hit@10": 1.0, "mrr": 0.2, "pool": 40, "queries": 1,
    }  # fmt: skip


NUMBERS = [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)]


@pytest.mark.parametrize("three", NUMBERS, ids=lambda x: type(x).__name__)
def test_whole_numbers_of_numpy_and_torch_are_plain(three):
    bank, sharded = lf.VectorBank(VECTORS, normalize=np.False_), ShardedBank(VECTORS, three - 3, np.False_)
    np.testing.assert_array_equal(bank.topk(QUERIES, three)[1], BEST)
    np.testing.assert_array_equal(sharded.topk(QUERIES, three)[1], BEST)
    assert (bank.rank(QUERIES, SCORES.argmin(axis=1), max_rank=three) == 3).all()
    assert (sharded.rank(QUERIES, SCORES.argmin(axis=1), max_rank=three) == 3).all()
    assert bank.band(QUERIES, -np.inf, np.inf, limit=three).shape == (5, 3)
    assert "hit@3" in lf.hit_at_k(QUERIES, QUERIES, ks=(three,))
    assert type(bank.normalize) is type(sharded.normalize) is bool
    assert repr(sharded) == "ShardedBank(40 x 6, normalize=False, ids 0 to 39 here)"


def test_kernel_threads_of_numpy_are_plain(restore_threads):
    lf.kernels.set_num_threads(np.int64(3))
    assert lf.kernels.num_threads() == 3


@pytest.mark.parametrize("real", [float, np.float64, np.float32, np.array, torch.tensor], ids=lambda x: x.__name__)
def test_real_numbers_of_numpy_and_torch_are_plain(real):
    bank = lf.VectorBank(VECTORS)
    np.testing.assert_array_equal(bank.band(QUERIES, real(0.5), real(60.5), 4), bank.band(QUERIES, 0.5, 60.5, 4))
    np.testing.assert_array_equal(bank.band(QUERIES, real(-np.inf), real(np.inf), 3), BEST)
    np.testing.assert_array_equal(bank.logsumexp(QUERIES, real(0.25))[0], bank.logsumexp(QUERIES, 0.25)[0])


def test_a_limit_beyond_the_bank_is_the_bank():
    scores, ids = lf.VectorBank(VECTORS).scored_band(QUERIES, -np.inf, np.inf, limit=10**9)
    np.testing.assert_array_equal(ids, best_first(SCORES))
    assert scores.shape == (5, 40)
    assert lf.VectorBank(VECTORS).band(QUERIES, 1e6, 1e7, limit=2**62).tolist() == [[-1] * 40] * 5


def test_long_lists_of_many_queries():
    """As many at a time as their lists leave room for, the last block a part of one."""
    vectors = np.random.default_rng(2).standard_normal((3000, 4)).astype(np.float32)
    scores, ids = lf.VectorBank(vectors).topk(vectors[:800], 3000)
    order = best_first(fixed_order_scores(vectors[:800], vectors))
    np.testing.assert_array_equal(ids, order)
    assert (np.diff(scores, axis=1) <= 0).all()


MASKED = np.ma.array(QUERIES, mask=QUERIES > 3)
WIDE = QUERIES.astype(np.float64)


def in_row(row: int, value: Any, rows: Any = WIDE) -> np.ndarray:
    return np.where(np.arange(5)[:, None] == row, value, rows)


NOT_SCORED = "expected float32, float16, bfloat16, got "
UNFIT = {  # what is no matrix of numbers, and what is said of it
    "masked": (lambda: MASKED, "expected an array without a mask"),
    "masked float64": (lambda: MASKED.astype(np.float64), "expected an array without a mask"),
    "list of masked rows": (lambda: list(MASKED), "expected an array without a mask"),
    "sparse": (
        lambda: torch.from_numpy(QUERIES).to_sparse(),
        "expected a dense tensor, got one of layout torch.sparse",
    ),
    "sparse float64": (lambda: torch.from_numpy(WIDE).to_sparse_csr(), "expected a dense tensor"),
    "nested": (
        lambda: torch.nested.nested_tensor(list(torch.from_numpy(QUERIES))),
        "expected a dense tensor, got a nes",
    ),
    "jagged": (
        lambda: torch.nested.nested_tensor(list(torch.from_numpy(QUERIES)), layout=torch.jagged),
        "expected a dense tensor, got a nested one",
    ),
    "quantised": (
        lambda: torch.quantize_per_tensor(torch.from_numpy(QUERIES), 1, 0, torch.qint8),
        f"{NOT_SCORED}qint8",
    ),
    "without memory": (
        lambda: torch.ones(5, 6, device="meta"),
        "expected a tensor that holds its numbers, got a Tensor",
    ),
    "masked tensor": (
        lambda: torch.masked.masked_tensor(torch.ones(5, 6), torch.ones(5, 6) > 0),
        "expected a tensor that holds its numbers, got a MaskedTensor without any",
    ),
    "int8 codes": (lambda: QUERIES.astype(np.int8), f"{NOT_SCORED}int8"),
    "uint8 codes": (lambda: torch.from_numpy(QUERIES + 9).byte(), f"{NOT_SCORED}uint8"),
    "float8": (lambda: QUERIES.astype(ml_dtypes.float8_e4m3fn), f"{NOT_SCORED}float8_e4m3fn"),
    "long double": (lambda: QUERIES.astype(np.longdouble), f"{NOT_SCORED}"),
    "complex": (lambda: QUERIES.astype(complex), f"{NOT_SCORED}complex128"),
    "truth values": (lambda: QUERIES > 0, f"{NOT_SCORED}bool"),
    "texts": (lambda: [list("abcdef")], f"{NOT_SCORED}<U1"),
    "objects": (lambda: [[None] * 6], "expected a numpy array or a torch tensor, got list"),
    "nothing": (lambda: None, "expected a numpy array or a torch tensor, got NoneType"),
    "a number": (lambda: 3.0, "expected shape"),
    "three dimensions": (lambda: QUERIES[None], "expected shape"),
    "rows of several lengths": (lambda: [[1.0, 2.0], [3.0]], "expected an array of numbers, got a list: "),
    "beyond float32": (lambda: 1e300 * WIDE, r"row 0 holds .*e\+30. as its largest number; expected float32's range"),
    "below float32": (lambda: 1e-60 * WIDE, r"row 0 holds .*e-60 as its largest number; expected float32's range"),
    "beyond 2^24": (
        lambda: in_row(2, -(2**24) - 1, QUERIES.astype(int)),
        "row 2 holds -16777217; expected whole numbers",
    ),
    "NaN": (lambda: in_row(4, np.nan), "row 4 holds NaN or infinity"),
    "infinity": (lambda: in_row(4, np.inf), "row 4 holds NaN or infinity"),
}

ASKED = {
    "VectorBank: vectors": lambda x: lf.VectorBank(x),
    "VectorBank.refill: vectors": lambda x: lf.VectorBank(VECTORS).refill(x),
    "VectorBank.topk: queries": lambda x: lf.VectorBank(VECTORS).topk(x, 1),
    "VectorBank.rank: queries": lambda x: lf.VectorBank(VECTORS).rank(x, [0] * 5),
    "VectorBank.band: queries": lambda x: lf.VectorBank(VECTORS).band(x, 0, 1, 2),
    "VectorBank.pair_scores: queries": lambda x: lf.VectorBank(VECTORS).pair_scores(x, [0] * 5),
    "VectorBank.logsumexp: queries": lambda x: lf.VectorBank(VECTORS).logsumexp(x),
    "hit_at_k: targets": lambda x: lf.hit_at_k(QUERIES, x),
    "hit_at_k: predictions": lambda x: lf.hit_at_k(x, [0] * 5, bank=lf.VectorBank(VECTORS)),
    "ShardedBank.rank: queries": lambda x: ShardedBank(VECTORS, 0).rank(x, [0] * 5),
    "ShardedBank.topk: queries": lambda x: ShardedBank(VECTORS, 0).topk(x, 1),
}


@pytest.mark.filterwarnings("ignore:.*prototype", "ignore:Sparse CSR", "ignore:torch.quantize")
@pytest.mark.parametrize("kind", UNFIT)
@pytest.mark.parametrize("call", ASKED)
def test_what_is_no_matrix_of_numbers_is_refused(kind, call):
    make, message = UNFIT[kind]
    value = make()
    with pytest.raises(ValueError, match=f"^{call}: {message}"):
        ASKED[call](value)


BANK = lf.VectorBank(VECTORS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: BANK.rank(QUERIES, np.ma.array([1] * 5, mask=[1, 0, 0, 0, 0])),
            "rank: targets: expected an array without",
        ),
        (lambda: BANK.rank(QUERIES, torch.tensor([1] * 5).to_sparse()), "rank: targets: expected a dense tensor"),
        (lambda: BANK.rank(QUERIES, torch.ones(5, device="meta")), "rank: targets: expected a tensor that holds"),
        (lambda: BANK.rank(QUERIES, [True] * 5), "rank: targets: expected whole-number ids, got bool"),
        (lambda: BANK.rank(QUERIES, ["1"] * 5), "rank: targets: expected whole-number ids, got <U1"),
        (lambda: BANK.rank(QUERIES[0], [1]), r"rank: targets: expected shape \(\), got \(1,\)"),
        (lambda: BANK.rank(QUERIES, 1), r"rank: targets: expected shape \(5,\), got \(\)"),
        (lambda: BANK.topk(QUERIES, True), "topk: k: expected a whole number, got True"),
        (lambda: BANK.topk(QUERIES, "3"), "topk: k: expected a whole number, got '3'"),
        (lambda: BANK.topk(QUERIES, np.array([3])), "topk: k: expected a whole number, got"),
        (lambda: BANK.topk(QUERIES[0, :3], 1), "topk: queries: expected 6 columns like the bank, got 3"),
        (lambda: BANK.band(QUERIES, "0", 1, 2), "band: low: expected a number, got '0'"),
        (lambda: BANK.band(QUERIES, 0, None, 2), "band: high: expected a number, got None"),
        (lambda: BANK.band(QUERIES, np.nan, 1, 2), "band: low, high: expected low <= high, got nan and 1"),
        (lambda: BANK.band(QUERIES, 0, 1, 2.5), "band: limit: expected a whole number, got 2.5"),
        (lambda: BANK.band(QUERIES, 0, 1, 2, below=np.ma.array([1.0] * 5)), "band: below: expected an array without"),
        (lambda: BANK.band(QUERIES, 0, 1, 2, below=["1"] * 5), "band: below: expected 5 numbers, got <U1"),
        (lambda: BANK.band(QUERIES, 0, 1, 2, below=[np.nan] * 5), "band: below: expected 5 numbers, got NaN"),
        (lambda: BANK.band(QUERIES[0], 0, 1, 2, exclude=[[1]]), r"band: exclude: expected shape \(E,\), got \(1, 1\)"),
        (lambda: BANK.logsumexp(QUERIES, "1"), "logsumexp: scale: expected a number, got '1'"),
        (lambda: BANK.logsumexp(QUERIES, np.inf), "logsumexp: scale: expected a positive number, got inf"),
        (lambda: lf.VectorBank(VECTORS, normalize="yes"), "normalize: expected True or False, got 'yes'"),
        (lambda: lf.VectorBank(VECTORS, 1), "normalize: expected True or False, got 1"),
        (lambda: ShardedBank(VECTORS, 0, 1), "ShardedBank: normalize: expected True or False, got 1"),
        (lambda: ShardedBank(VECTORS, 0.0), "ShardedBank: first_id: expected a whole number, got 0.0"),
        (lambda: ShardedBank(VECTORS, 0).topk(QUERIES, 2.5), "ShardedBank.topk: k: expected a whole number, got 2.5"),
        (lambda: ShardedBank(VECTORS, 0).rank(QUERIES, [0] * 5, 1.5), "ShardedBank.rank: max_rank: expected a whole"),
        (lambda: lf.hit_at_k(QUERIES, QUERIES, ks=5), "hit_at_k: ks: expected some whole numbers, got 5"),
        (lambda: lf.hit_at_k(QUERIES, QUERIES, ks=np.array([])), "hit_at_k: ks: expected at least one number"),
        (lambda: lf.hit_at_k(QUERIES, QUERIES, mrr="no"), "hit_at_k: mrr: expected True or False, got 'no'"),
        (
            lambda: lf.hit_at_k(QUERIES, QUERIES, normalize=None),
            "hit_at_k: normalize: expected True or False, got None",
        ),
        (lambda: lf.hit_at_k(QUERIES, [0] * 5, bank=VECTORS), "hit_at_k: bank: expected a VectorBank, got a ndarray"),
        (lambda: lf.hit_at_k(None, QUERIES), "hit_at_k: predictions: expected a numpy array"),
        (lambda: lf.kernels.set_num_threads(2.5), "set_num_threads: expected a whole number, got 2.5"),
        (lambda: lf.kernels.set_num_threads("2"), "set_num_threads: expected a whole number, got '2'"),
        (lambda: lf.kernels.set_num_threads(2**70), "set_num_threads: expected a whole number from 1 to 1024, got '11"),
        (lambda: lf.kernels.set_simd_level(3), "set_simd_level: expected an instruction set of this CPU .*, got 3"),
    ],
)
def test_numbers_and_ids_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()

"""Mistakes in what a bank is given and asked: the message says which argument, and what was expected."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf

GOOD = np.ones((4, 3), np.float32)
NAN = np.array([[1, 2, 3], [1, np.nan, 3]], np.float32)
ZERO = np.array([[1, 2, 3], [1, 1, 1], [0, 0, 0]], np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lf.VectorBank(np.ones((2, 3), complex)), r"VectorBank: vectors: expected float32, .*, got complex128"),
        (lambda: lf.VectorBank(np.ones((2, 3), np.int8)), r"VectorBank: vectors: expected float32, .*, got int8"),
        (lambda: lf.VectorBank(np.ones(3, np.float32)), r"VectorBank: vectors: expected shape \(rows, D\), got \(3,\)"),
        (lambda: lf.VectorBank({"a": 1}), r"expected a numpy array or a torch tensor, got dict"),
        (lambda: lf.VectorBank(np.ones((0, 3), np.float32)), r"at least one row and one column, got \(0, 3\)"),
        (lambda: lf.VectorBank(np.ones((3, 0), np.float32)), r"at least one row and one column, got \(3, 0\)"),
        (lambda: lf.VectorBank(NAN), r"VectorBank: vectors: row 1 holds NaN or infinity"),
        (lambda: lf.VectorBank(ZERO, normalize=True), r"VectorBank: vectors: row 2 is all zeros"),
        (lambda: lf.VectorBank(GOOD).rank(NAN, [0, 0]), r"VectorBank\.rank: queries: row 1 holds NaN or infinity"),
        (lambda: lf.VectorBank(GOOD, normalize=True).rank(ZERO, [0] * 3), r"rank: queries: row 2 is all zeros"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD[:, :2], [0] * 4), r"queries: expected 3 columns like the bank, got 2"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD, [0, 1, 2]), r"targets: expected shape \(4,\), got \(3,\)"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD, [0, 1, 2, 4]), r"targets\[3\] = 4: expected an id in \[0, 4\)"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD, [0, -1, 2, 3]), r"targets\[1\] = -1"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD, [0.5] * 4), r"targets: expected whole-number ids, got float64"),
        (lambda: lf.VectorBank(GOOD).pair_scores(GOOD, [0, 1, 2]), r"VectorBank.pair_scores: targets: expected shape"),
        (lambda: lf.VectorBank(GOOD).pair_scores(GOOD, [0, 1, 2, 4]), r"VectorBank.pair_scores: targets\[3\] = 4"),
        (
            lambda: lf.VectorBank(GOOD).rank(GOOD, [0] * 4, max_rank=0),
            r"max_rank: expected at least 1 .*, got 0",
        ),
        (lambda: lf.VectorBank(GOOD).topk(GOOD, 5), r"k: expected 1 to 4 \(the bank's size\), got 5"),
        (lambda: lf.VectorBank(GOOD).topk(GOOD, 0), r"k: expected at least 1 and below 2\^63, got 0"),
        (lambda: lf.VectorBank(GOOD).topk(GOOD, 2.5), r"topk: k: expected a whole number, got 2\.5"),
        (lambda: lf.VectorBank(GOOD).rank(GOOD, [0] * 4, max_rank=1.5), r"max_rank: expected a whole number, got 1\.5"),
        (lambda: lf.VectorBank(np.ones((1, 65537), np.float32)), r"expected at most 65536 columns, got 65537"),
        (lambda: lf.VectorBank(GOOD).refill(GOOD[:, :2]), r"refill: vectors: expected 3 columns, got 2"),
        (lambda: lf.VectorBank(GOOD).pair_scores(NAN, [0, 0]), r"pair_scores: queries: row 1 holds NaN or infinity"),
        (lambda: lf.VectorBank(GOOD).topk(GOOD, 2**70), r"topk: k: expected at least 1 and below 2\^63"),
        (
            lambda: lf.VectorBank(GOOD).rank(GOOD, np.full(4, 2**64 - 1, np.uint64)),
            r"targets: expected ids below 2\^63",
        ),
        (lambda: lf.VectorBank(GOOD).refill(NAN), r"refill: vectors: row 1 holds NaN"),
        (lambda: lf.VectorBank(GOOD).logsumexp(GOOD, 0), r"logsumexp: scale: expected a positive number, got 0"),
        (lambda: lf.VectorBank(GOOD).logsumexp(GOOD, np.nan), r"logsumexp: scale: expected a positive number, got nan"),
        (lambda: lf.VectorBank(GOOD).band(GOOD, 2, 1, 3), r"band: low, high: expected low <= high, got 2 and 1"),
        (lambda: lf.VectorBank(GOOD).band(GOOD, 0, 1, 0), r"band: limit: expected at least 1 and below 2\^63, got 0"),
        (lambda: lf.VectorBank(GOOD).band(GOOD, 0, 1, 2, exclude=[[7]] * 4), r"exclude: expected ids in \[0, 4\)"),
        (lambda: lf.VectorBank(GOOD).band(GOOD, 0, 1, 2, exclude=[1]), r"exclude: expected shape \(4, E\), got \(1,\)"),
        (lambda: lf.VectorBank(GOOD).band(GOOD, 0, 1, 2, below=[1]), r"below: expected 4 numbers"),
    ],
)
def test_bad_arguments_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_failed_refill_leaves_a_bank_that_says_so(tmp_path):
    bank = lf.VectorBank(GOOD)
    with pytest.raises(ValueError, match="row 1 holds NaN"):
        bank.refill(NAN)
    for call in (lambda: bank.topk(GOOD, 1), lambda: bank.logsumexp(GOOD), lambda: bank.save(tmp_path / "bank")):
        with pytest.raises(ValueError, match="the last refill failed"):
            call()
    bank.refill(GOOD)
    assert bank.rank(GOOD[:1], [0])[0] == 0

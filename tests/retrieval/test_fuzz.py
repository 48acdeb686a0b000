"""Banks of any shape, stride, type, metric and kind of values, at any instruction set and thread count, under any
filters, and whatever was appended and removed, against the oracle.

`pytest tests/retrieval/test_fuzz.py --hypothesis-profile=fuzz` goes on for about ten minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import ml_dtypes
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from oracles import best_first, check_everything, fixed_order_scores, random_filters

import lvm_fast as lf

TYPES = (np.float32, np.float16, ml_dtypes.bfloat16)
VALUES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "few values": lambda rng, shape: rng.choice([0.0, 1.0, -1.0, 0.5, 3.0], shape),
    "one large number a row": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 3, shape),
    "rows of all sizes": lambda rng, shape: rng.standard_normal(shape) * 10.0 ** rng.integers(-4, 4, (shape[0], 1)),
    "nearly equal rows": lambda rng, shape: rng.standard_normal(shape[1]) + 1e-4 * rng.standard_normal(shape),
    "sparse": lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < 0.1),
}
# queries, candidates, dimensions
FEW = st.tuples(
    st.integers(1, 80), st.integers(1, 150), st.one_of(st.integers(1, 140), st.sampled_from([255, 256, 257]))
)
LISTS_WITH_SAMPLES = st.tuples(st.sampled_from([5, 100]), st.sampled_from([700, 1500, 2600]), st.integers(1, 9))


def laid_out(values: np.ndarray, row_step: int, column_step: int, start: int) -> np.ndarray:
    """The same values with gaps between rows or columns, reversed rows, and a start that is not aligned."""
    rows, dim = values.shape
    held = np.zeros(start + rows * abs(row_step) * dim * column_step + dim * column_step, values.dtype)
    view = held[start:][: rows * abs(row_step) * dim * column_step].reshape(rows, -1)[:, : dim * column_step]
    view = view[:: 1 if row_step > 0 else -1, ::column_step]
    view[:] = values
    return view


@contextmanager
def machine(level: str, threads: int) -> Iterator[None]:
    before = lf.kernels.simd_level(), lf.kernels.num_threads()
    lf.kernels.set_simd_level(level)
    lf.kernels.set_num_threads(threads)
    yield
    lf.kernels.set_simd_level(before[0])
    lf.kernels.set_num_threads(before[1])


@given(
    shape=st.one_of(FEW, FEW, FEW, LISTS_WITH_SAMPLES),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(VALUES)),
    stored=st.sampled_from(TYPES),
    asked=st.sampled_from(TYPES),
    row_step=st.sampled_from([1, 2, -1]),
    column_step=st.sampled_from([1, 1, 2]),
    start=st.integers(0, 3),
    metric=st.sampled_from(["ip", "cosine", "l2"]),
    level=st.sampled_from(lf.kernels.simd_levels()),
    threads=st.integers(1, 4),
)
def test_any_bank_and_any_queries(
    shape, seed, kind, stored, asked, row_step, column_step, start, metric, level, threads
):
    count, size, dim = shape
    rng = np.random.default_rng(seed)
    vectors = VALUES[kind](rng, (size, dim)).astype(stored)
    queries = VALUES[kind](rng, (count, dim)).astype(asked)
    queries[: min(count, size) // 2] = vectors[: min(count, size) // 2].astype(asked)
    if metric == "cosine":
        vectors[(vectors.astype(np.float32) == 0).all(axis=1)] = 1
        queries[(queries.astype(np.float32) == 0).all(axis=1)] = 1
    scored = [a.astype(np.float32) for a in (queries, vectors)]
    if metric == "cosine":
        lengths = [np.sqrt(fixed_order_scores(a, a).diagonal()) for a in scored]
        scored = [(a * (1 / n)[:, None]).astype(np.float32) for a, n in zip(scored, lengths, strict=True)]
    with machine(level, threads):
        bank = lf.VectorBank(laid_out(vectors, row_step, column_step, start), metric=metric)
        check_everything(
            laid_out(queries, row_step, column_step, start), vectors, fixed_order_scores(*scored, metric), bank, rng
        )


def in_turn(bank: lf.VectorBank, vectors: np.ndarray, rng: np.random.Generator, changes: list[str]) -> np.ndarray:
    """Change the bank, which holds the first of the vectors; returns which ids it then holds, (ids given,)."""
    held = np.ones(len(bank), bool)
    for change in changes:
        count = int(rng.integers(1, 40))
        if change == "append" and len(held) + count <= len(vectors):
            bank.append(vectors[len(held) : len(held) + count])
            held = np.append(held, np.ones(count, bool))
        elif change == "remove" and held.sum() > 1:
            gone = rng.permutation(np.flatnonzero(held))[: min(count, int(held.sum()) - 1)]
            bank.remove(gone)
            held[gone] = False
    return held


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 60), st.integers(1, 70)),
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(VALUES)),
    stored=st.sampled_from(TYPES),
    metric=st.sampled_from(["ip", "cosine", "l2"]),
    changes=st.lists(st.sampled_from(["append", "append", "remove"]), min_size=1, max_size=20),
    level=st.sampled_from(lf.kernels.simd_levels()),
    threads=st.integers(1, 4),
)
def test_any_changes(shape, seed, kind, stored, metric, changes, level, threads):
    count, size, dim = shape
    rng = np.random.default_rng(seed)
    vectors = VALUES[kind](rng, (size + 400, dim)).astype(stored)
    queries = VALUES[kind](rng, (count, dim)).astype(np.float32)
    if metric == "cosine":
        vectors[(vectors.astype(np.float32) == 0).all(axis=1)] = 1
        queries[(queries == 0).all(axis=1)] = 1
    scored = [queries, vectors.astype(np.float32)]
    if metric == "cosine":
        lengths = [np.sqrt(fixed_order_scores(a, a).diagonal()) for a in scored]
        scored = [(a * (1 / n)[:, None]).astype(np.float32) for a, n in zip(scored, lengths, strict=True)]
    with machine(level, threads):
        bank = lf.VectorBank(vectors[:size], metric=metric)
        held = in_turn(bank, vectors, rng, changes)
        left = np.flatnonzero(held)
        scores = fixed_order_scores(*scored, metric)[:, : len(held)]
        order = left[best_first(scores[:, left])]
        targets = rng.choice(left, count)
        k = min(len(left), int(rng.integers(1, 12)))
        filters, allowed = random_filters(rng, count, len(held))
        wanted = [[i for i in row if may[i]] for row, may in zip(order, allowed, strict=True)]
        places = np.argmax(order == targets[:, None], axis=1)
        ahead = [len(set(row[:place]) & set(best)) for row, place, best in zip(order, places, wanted, strict=True)]
        np.testing.assert_array_equal(bank.ids, left)
        np.testing.assert_array_equal(bank.topk(queries, len(left))[1], order)
        np.testing.assert_array_equal(bank.rank(queries, targets), places)
        np.testing.assert_array_equal(bank.topk(queries, k, **filters)[1], [(row + [-1] * k)[:k] for row in wanted])
        np.testing.assert_array_equal(bank.rank(queries, targets, **filters), ahead)

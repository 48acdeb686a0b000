"""Exact top-10 and ranks on a CUDA GPU beside torch in float32 and FAISS on the GPU, where there is one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
import torch
from test_scoring import QUERIES, K, Timed, Work, random_work

import lvm_fast as lf

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
SIZE = 1_000_000


@pytest.fixture(scope="module")
def million() -> Work:
    return random_work(QUERIES, SIZE, related=True)


@pytest.fixture(scope="module")
def group(million: Work) -> str:
    return f"{million.name}, {torch.cuda.get_device_name()}"


def product_speed(dtype: torch.dtype) -> float:
    """Measure TFLOP/s of plain products of 8192 x 8192 x 8192: the unit's ceiling."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    times = []
    for _ in range(10):
        torch.cuda.synchronize()
        start = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 2 * 8192**3 / min(times) / 1e12


def beside_ceiling(dtype: torch.dtype) -> Callable[[Any, float], str]:
    """Note the products a second, and the ceiling measured at once."""

    def note(_: Any, median: float) -> str:
        speed, ceiling = 2 * QUERIES * SIZE * 768 / median / 1e12, product_speed(dtype)
        return f"{speed:.0f} TFLOP/s = {speed / ceiling:.0%} of {ceiling:.0f} ({str(dtype).removeprefix('torch.')})"

    return note


@pytest.fixture(scope="module")
def best(million: Work) -> np.ndarray:
    """(B, K) ids of the true ten best, from the core."""
    return lf.VectorBank(million.pool).topk(million.queries, K)[1]


def test_top_10(timed: Timed, group: str, million: Work, best: np.ndarray) -> None:
    bank = lf.VectorBank(million.pool, device="cuda")
    call = lambda: bank.topk(million.queries, K)[1]  # noqa: E731
    ids = timed(f"exact top-10, {group}", "lvm_fast", call, 5, beside_ceiling(torch.float16))
    np.testing.assert_array_equal(ids, best)


def test_full_ranks(timed: Timed, group: str, million: Work) -> None:
    bank = lf.VectorBank(million.pool, device="cuda")
    call = lambda: bank.rank(million.queries, million.targets)  # noqa: E731
    ranks = timed(f"full exact ranks, {group}", "lvm_fast", call, 5, beside_ceiling(torch.float16))
    assert (ranks == 0).all()


def test_top_10_with_torch(timed: Timed, group: str, million: Work, best: np.ndarray) -> None:
    pool = torch.from_numpy(million.pool).cuda()

    def call() -> np.ndarray:
        scores = torch.from_numpy(million.queries).cuda() @ pool.T
        return scores.topk(K).indices.cpu().numpy()

    ids = timed(f"exact top-10, {group}", "torch fp32 matmul+topk", call, 5, beside_ceiling(torch.float32))
    assert np.mean(ids == best) > 0.99


@pytest.mark.skipif(not hasattr(faiss, "StandardGpuResources"), reason="this FAISS has no GPU")
def test_top_10_with_faiss(timed: Timed, group: str, million: Work, best: np.ndarray) -> None:
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), million.pool.shape[1])
    index.add(million.pool)
    call = lambda: index.search(million.queries, K)[1]  # noqa: E731
    ids = timed(f"exact top-10, {group}", "FAISS flat on the GPU", call, 5, beside_ceiling(torch.float32))
    assert np.mean(ids == best) > 0.99

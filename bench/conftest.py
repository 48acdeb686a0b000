"""Real vectors, two threads everywhere, and peers whose answers are checked before they are timed.

Run `python bench/table.py` for the table with ratios; `--store FILE` benches on a chain store of your own.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import pytest
import torch

import lvm_fast as lf


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", help="a chain store whose vectors are scored (default: the bundled sample)")


@pytest.fixture(scope="session", autouse=True)
def same_conditions_for_all() -> None:
    """The same threads, and an allocator that keeps what is freed: nobody pays for fresh pages."""
    keep_freed_memory()
    threads = lf.kernels.num_threads()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)


def keep_freed_memory() -> None:
    """glibc only (malloc.h): no allocation through mmap, no trimming of the heap."""
    most_mmaps, trim_threshold = -4, -1
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(most_mmaps, 0)
        libc.mallopt(trim_threshold, -1)


@pytest.fixture(scope="session")
def vectors(pytestconfig: pytest.Config) -> np.ndarray:
    """(T, 768) float32: every chunk of the store."""
    path = pytestconfig.getoption("--store")
    store = lf.ChainStore.open(path) if path else lf.sample()
    return np.asarray(store.vectors, dtype=np.float32)


@pytest.fixture
def timed(benchmark: Any) -> Callable[..., Any]:
    """Time a call: warmed up, the median of `rounds`; labelled with its group and name."""

    def run(group: str, name: str, call: Callable[[], Any], rounds: int = 15) -> Any:
        benchmark.group = group
        benchmark.name = name
        benchmark.extra_info["peer"] = name
        return benchmark.pedantic(call, rounds=rounds, warmup_rounds=1 if rounds < 10 else 3)

    return run

"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32
from lvm_fast.ops import runtime

settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5_000)
settings.load_profile("default")


@pytest.fixture(params=runtime.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set of this CPU in turn, forced for the test."""
    before = runtime.simd_level()
    runtime.set_simd_level(request.param)
    yield request.param
    runtime.set_simd_level(before)


@pytest.fixture
def restore_threads() -> Iterator[None]:
    """Puts the number of kernel threads back after the test."""
    before = runtime.num_threads()
    yield
    runtime.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def unit_rows(rng: np.random.Generator) -> Callable[..., Float32]:
    """unit_rows(T, D): random unit vectors."""

    def make(count: int, dim: int = 16) -> Float32:
        rows = rng.standard_normal((count, dim), dtype=np.float32)
        unit: Float32 = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    return make


@pytest.fixture
def store(unit_rows: Callable[..., Float32]) -> ChainStore:
    """Five chains of 12, 0, 3, 30 and 7 rows, 16 wide."""
    return ChainStore(
        unit_rows(52), np.cumsum([0, 12, 0, 3, 30, 7]), ["a", "empty", "b", "c", "d"], {"encoder": "random"}
    )


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs code in a Python of its own, away from the sources: they hide a package that is installed elsewhere."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        surroundings = {**os.environ, **environment}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=surroundings, cwd=tmp_path, timeout=300
        )

    return run

"""Fixtures that every room's tests may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

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
def run_python(tmp_path):
    """Runs code in a Python of its own, away from the sources: they hide a package that is installed elsewhere."""

    def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code]
        surroundings = {**os.environ, **environment}
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=surroundings, cwd=tmp_path, timeout=300
        )

    return run

"""Fixtures that every room's tests may use."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings

from lvm_fast import kernels

settings.register_profile("default", deadline=None)
settings.register_profile("fuzz", deadline=None, max_examples=5_000)
settings.load_profile("default")


@pytest.fixture(params=kernels.simd_levels())
def simd_level(request: pytest.FixtureRequest) -> Iterator[str]:
    """Every instruction set of this CPU in turn, forced for the test."""
    before = kernels.simd_level()
    kernels.set_simd_level(request.param)
    yield request.param
    kernels.set_simd_level(before)


@pytest.fixture
def restore_threads() -> Iterator[None]:
    """Puts the number of kernel threads back after the test."""
    before = kernels.num_threads()
    yield
    kernels.set_num_threads(before)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)

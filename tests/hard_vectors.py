"""Vectors that are hard to score: awkward sizes, near-ties, odd magnitudes, and every way to store them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch

DIMS = (1, 2, 3, 7, 8, 15, 16, 17, 31, 63, 65, 768, 769)


def clustered(rng: np.random.Generator, size: int, dim: int) -> np.ndarray:
    return np.repeat(rng.standard_normal((3, dim)), -(-size // 3), axis=0)[:size] + 1e-6 * rng.standard_normal(
        (size, dim)
    )


def one_ulp_apart(rng: np.random.Generator, size: int, dim: int) -> np.ndarray:
    base = np.tile(rng.standard_normal(dim).astype(np.float32), (size, 1))
    towards = np.where(rng.random((size, dim)) < 0.5, -np.inf, np.inf).astype(np.float32)
    return np.where(rng.random((size, dim)) < 0.1, np.nextafter(base, towards), base)


HARD_SETS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "clustered": clustered,
    "one ulp apart": one_ulp_apart,
    "all identical": lambda rng, size, dim: np.tile(rng.standard_normal(dim), (size, 1)),
    "duplicates": lambda rng, size, dim: rng.standard_normal((5, dim))[rng.integers(0, 5, size)],
    "antipodal": lambda rng, size, dim: np.outer(np.resize([1.0, -1.0], size), rng.standard_normal(dim)),
    "huge": lambda rng, size, dim: rng.standard_normal((size, dim)) * 1e37,
    "tiny": lambda rng, size, dim: rng.standard_normal((size, dim)) * 1e-42,
    "norms of all sizes": lambda rng, size, dim: (
        rng.standard_normal((size, dim)) * 10.0 ** rng.integers(-30, 30, (size, 1))
    ),
    "zeros": lambda rng, size, dim: np.zeros((size, dim)),
    "sparse": lambda rng, size, dim: rng.standard_normal((size, dim)) * (rng.random((size, dim)) < 0.02),
}

STORED: dict[str, Callable[[np.ndarray], Any]] = {
    "float32": lambda x: x,
    "float16": lambda x: x.astype(np.float16),
    "bfloat16": lambda x: x.astype(ml_dtypes.bfloat16),
    "torch float16": lambda x: torch.from_numpy(x).half(),
    "torch bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "strided": lambda x: np.repeat(x, 2, axis=0)[::2],
    "transposed": lambda x: np.asfortranarray(x),
}

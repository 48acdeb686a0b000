"""l2_normalize and reconstruct against torch eager, torch.compile and numpy; a plain copy shows the bandwidth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import lvm_fast as lf

Timed = Callable[..., Any]  # the fixture of conftest.py

EPS = 1e-8
SMALL_CALLS = 200  # of a call too short to time alone


def torch_normalize(x: Tensor) -> Tensor:
    unit: Tensor = x / (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + EPS)
    return unit


def torch_reconstruct(x: Tensor, delta: Tensor) -> Tensor:
    return torch_normalize(x + delta)


def numpy_normalize(x: np.ndarray) -> np.ndarray:
    unit: np.ndarray = x / (np.linalg.norm(x, axis=-1, keepdims=True) + EPS)
    return unit


def numpy_reconstruct(x: np.ndarray, delta: np.ndarray) -> np.ndarray:
    return numpy_normalize(x + delta)


@pytest.fixture(scope="module", params=[100_000, 256], ids=lambda rows: f"{rows}x768")
def arguments(request: pytest.FixtureRequest) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, delta = (torch.randn(request.param, 768, generator=generator) for _ in range(2))
    return x, delta


OPERATIONS: dict[str, tuple[int, Callable[..., Tensor], Callable[..., Tensor], Callable[..., np.ndarray]]] = {
    "l2_normalize": (1, lf.l2_normalize, torch_normalize, numpy_normalize),
    "reconstruct": (2, lf.reconstruct, torch_reconstruct, numpy_reconstruct),
}


@pytest.mark.parametrize("peer", ["lvm_fast", "torch eager", "torch.compile", "numpy"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_new_result(timed: Timed, arguments: tuple[Tensor, Tensor], operation: str, peer: str) -> None:
    count, ours, eager, with_numpy = OPERATIONS[operation]
    inputs: tuple[Any, ...] = arguments[:count]
    if peer == "numpy":
        inputs = tuple(t.numpy() for t in inputs)
    call = {"lvm_fast": ours, "torch eager": eager, "torch.compile": torch.compile(eager), "numpy": with_numpy}[peer]
    repeats = SMALL_CALLS if len(inputs[0]) == 256 else 1

    def run() -> Any:
        with torch.no_grad():
            for _ in range(repeats):
                result = call(*inputs)
        return result

    group = f"{operation}, {len(inputs[0]):,} x 768, new result" + (f" ({repeats} calls)" if repeats > 1 else "")
    result = timed(group, peer, run)
    torch.testing.assert_close(torch.as_tensor(result), eager(*arguments[:count]))


@pytest.mark.parametrize("peer", ["lvm_fast", "plain copy of as many bytes"])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_given_result(timed: Timed, arguments: tuple[Tensor, Tensor], operation: str, peer: str) -> None:
    count, ours, eager, _ = OPERATIONS[operation]
    inputs = arguments[:count]
    if len(inputs[0]) == 256:
        pytest.skip("a copy shows bandwidth only where it leaves the caches")
    out = torch.zeros_like(inputs[0])
    if peer == "lvm_fast":
        timed(f"{operation}, 100,000 x 768, into out=", peer, lambda: ours(*inputs, out=out))
        torch.testing.assert_close(out, eager(*inputs))
        return
    # reconstruct reads twice what it writes: a copy of half as many rows again moves the same bytes.
    rows = 100_000 * (1 + count) // 2
    source, target = torch.zeros(rows, 768), torch.zeros(rows, 768)
    timed(f"{operation}, 100,000 x 768, into out=", peer, lambda: target.copy_(source))

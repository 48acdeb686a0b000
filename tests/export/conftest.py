"""A small model whose every weight matters, and its packages."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch

import lvm_fast as lf
from lvm_fast.export.compression import COMPRESSIONS
from lvm_fast.models.base import LatentVectorModel

Change: TypeAlias = Callable[[dict[str, torch.Tensor]], Any]


def _small_model(**sizes: Any) -> LatentVectorModel:
    torch.manual_seed(3)
    model = lf.create_model("memory_gru", **{"input_dim": 16, "hidden_dim": 12, "memory_slots": 8, **sizes})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.6 * model.input_dim**-0.5 * torch.randn_like(parameter))
        model.get_buffer("memory.memory").normal_()
    return model.eval()


@pytest.fixture(scope="session")
def small_model() -> Callable[..., LatentVectorModel]:
    """Makes a memory_gru of width 16 with weights so large that a change of any of them shows in its predictions."""
    return _small_model


@pytest.fixture
def model() -> LatentVectorModel:
    return _small_model()


@pytest.fixture
def changed(model: LatentVectorModel) -> Callable[[Change], LatentVectorModel]:
    """Makes a copy of `model` and hands its state dict to a function that alters the tensors in place."""

    def make(change: Change) -> LatentVectorModel:
        other = copy.deepcopy(model)
        with torch.no_grad():
            change(other.state_dict())
        return other

    return make


@pytest.fixture(scope="session", params=["float16", "float32"])
def precision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory, precision: str) -> Path:
    """`model` with contexts 3 and 5 and streaming, in each precision. To be read only."""
    path = tmp_path_factory.mktemp("export") / "small.mlpackage"
    return lf.export_coreml(_small_model(), path, contexts=(3, 5), precision=precision)


WIDE = {"input_dim": 64, "hidden_dim": 48, "memory_slots": 64}  # sizes whose matrices are worth compressing


@pytest.fixture(scope="session", params=COMPRESSIONS)
def compression(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def wide_model() -> LatentVectorModel:
    return _small_model(**WIDE)


@pytest.fixture(scope="session")
def compressed(tmp_path_factory: pytest.TempPathFactory, compression: str) -> Path:
    """`wide_model` with contexts 3 and 5 and streaming, in each compression. To be read only."""
    path = tmp_path_factory.mktemp("export") / "compressed.mlpackage"
    return lf.export_coreml(_small_model(**WIDE), path, contexts=(3, 5), compress=compression)

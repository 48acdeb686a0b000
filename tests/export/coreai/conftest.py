"""A small model, and its asset."""

from __future__ import annotations

from pathlib import Path

import pytest
from coreai_models import model_of

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel


@pytest.fixture(scope="session")
def small() -> LatentVectorModel:
    return model_of("memory_gru", num_layers=2)


@pytest.fixture(scope="session")
def small_asset(small: LatentVectorModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` with context 3 and streaming, in float32. To be read only."""
    pytest.importorskip("coreai_torch")
    path = tmp_path_factory.mktemp("export") / "small.aimodel"
    return lf.export_coreai(small, path, contexts=(3,), precision="float32")

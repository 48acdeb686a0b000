"""Core ML runs our packages: on a Mac only, where it lives."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")

from .test_model_types import SPACED, crowded, exported, model_of  # noqa: E402

pytestmark = [
    pytest.mark.apple,
    pytest.mark.skipif(sys.platform != "darwin", reason="Core ML runs on Apple systems only"),
]


def contexts(length: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal((1, length, 16)).astype(np.float32)
    return lf.l2_normalize(rows)


def loaded(package: Path, function: str | None) -> ct.models.MLModel:
    return ct.models.MLModel(str(package), function_name=function, compute_units=ct.ComputeUnit.CPU_ONLY)


def test_predict_agrees_with_the_model(package: Path, model: LatentVectorModel) -> None:
    outputs = loaded(package, "predict_5").predict({"context": contexts(5)})
    np.testing.assert_allclose(outputs["next_vector"], model.predict(contexts(5)), atol=5e-3)


@pytest.mark.parametrize("name", SPACED)
def test_a_model_in_a_space_agrees(name: str, tmp_path: Path) -> None:
    model, bank = model_of(name), crowded(16)
    package = exported(model, tmp_path, contexts=(5,), flexible=None, bank=bank, topk=3)
    outputs = loaded(package, "predict_5").predict({"context": contexts(5)})
    np.testing.assert_allclose(outputs["next_vector"], model.predict(contexts(5)), atol=5e-3)
    np.testing.assert_allclose(outputs["query"], model.query(contexts(5)), atol=5e-3)
    found = loaded(package, "topk").predict({"query": outputs["query"]})
    np.testing.assert_allclose(found["scores"], model.bank(bank).topk(model.query(contexts(5)), 3)[0], atol=1e-2)


def test_step_keeps_its_state(package: Path, model: LatentVectorModel) -> None:
    step = loaded(package, "step")
    state = step.make_state()
    for length in range(1, 6):
        outputs = step.predict({"vector": contexts(5)[:, length - 1]}, state=state)
        np.testing.assert_allclose(outputs["next_vector"], model.predict(contexts(5)[:, :length]), atol=5e-3)


def test_a_package_for_older_systems_runs(model: LatentVectorModel, tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    package = lf.export_coreml(model, path, contexts=(5,), streaming=False, target="ios16")
    outputs = loaded(package, None).predict({"context": contexts(5)})
    np.testing.assert_allclose(outputs["next_vector"], model.predict(contexts(5)), atol=5e-3)

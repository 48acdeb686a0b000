"""Every model type of the registry as a Core AI asset, run by Apple's runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from coreai_models import MODELS, SIZES, contexts_of, exported, model_of, rows_of

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import model_names

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai.runtime import RunningAsset

WIDE: dict[str, dict[str, Any]] = {name: {"input_dim": 64, "hidden_dim": 48} for name in SIZES}
WIDE |= {"whitened_recency": {"input_dim": 64}, "recency_residual": {"input_dim": 64, "hidden_dim": 40, "key_dim": 36}}


class Exported(NamedTuple):
    """A model, and its asset of float32."""

    model: LatentVectorModel
    path: Path


@pytest.fixture(scope="module", params=MODELS)
def asset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    model = model_of(request.param)
    return Exported(model, exported(model, tmp_path_factory.mktemp("asset")))


def test_every_registered_type_is_tested_here() -> None:
    assert set(SIZES) == set(model_names())


def test_every_function_is_the_model(asset: Exported) -> None:
    verification = lf.verify_coreai(asset.path, asset.model)
    assert [check.name for check in verification.functions] == [
        *(f"predict_{length}" for length in contexts_of(asset.model)),
        "predict",
        *(["step"] if asset.model.model_type != "amn" else []),
    ]
    assert verification.passed, verification.to_text()
    assert all(check.max_abs_error < 2e-6 for check in verification.functions)


def test_no_state_breaks_the_rules_of_the_neural_engine(asset: Exported) -> None:
    with RunningAsset(asset.path) as running:
        shapes = [shape for name in running.functions for shape in running.state_shapes(name).values()]
        shapes += [shape for name in running.functions for shape in running.input_shapes(name).values()]
    assert len(shapes) > len(running.functions) or asset.model.model_type == "amn"
    assert all(shape[-1] % 32 == 0 for shape in shapes if shape[-1] != asset.model.input_dim)
    assert all(shape[-1] != 1 for shape in shapes)


def test_core_ml_and_core_ai_say_the_same(asset: Exported, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    from lvm_fast.export.mil.interpreter import SavedProgram

    asked = {"contexts": contexts_of(asset.model), "flexible": 30, "streaming": asset.model.model_type != "amn"}
    package = SavedProgram(lf.export_coreml(asset.model, tmp_path / "m.mlpackage", precision="float32", **asked))
    rows = rows_of(asset.model.input_dim, 23)
    with RunningAsset(asset.path) as running:
        assert running.functions == package.functions
        for name in running.functions:
            (given, shape), *_ = running.input_shapes(name).items()
            steps = rows[None, : shape[1] or 13] if given == "context" else rows[:, None]
            states, kept = running.new_state(name), package.new_state(name)
            for step in [steps] if given == "context" else steps:
                said = running.run(name, {given: step}, states)
                other = package.run(name, {given: step}, kept)
                assert said.keys() == other.keys()
                limit = 3e-3 if kept else 4e-6  # Core ML's states are float16
                for output, numbers in said.items():
                    np.testing.assert_allclose(numbers, other[output], atol=limit * max(1, np.linalg.norm(numbers)))


@pytest.mark.parametrize("compress", [None, "int8"])
@pytest.mark.parametrize("name", ["memory_gru whitened", "transformer", "recency_mixer", "recency_residual whitened"])
def test_float16_and_int8_are_the_model_too(name: str, compress: str | None, tmp_path: Path) -> None:
    check_half(name, compress, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("compress", [None, "int8", "palette6"])
@pytest.mark.parametrize("name", MODELS)
def test_float16_and_compressed_are_the_model_for_every_type(name: str, compress: str | None, tmp_path: Path) -> None:
    check_half(name, compress, tmp_path)


def check_half(name: str, compress: str | None, folder: Path) -> None:
    model = model_of(name, **WIDE[name.partition(" ")[0]])
    path = exported(model, folder, "float16", contexts=(5,), flexible=None, compress=compress)
    checks = lf.verify_coreai(path, model).functions
    assert all(check.program_error <= check.tolerance and not check.wrong_weights for check in checks)
    has_matrices = compress is not None and name != "whitened_recency"
    assert all(check.program_error < check.max_abs_error for check in checks) or not has_matrices


@pytest.mark.parametrize("compress", ["palette6", "palette4"])
def test_palettes_are_those_of_the_model(compress: str, tmp_path: Path) -> None:
    check_half("memory_gru", compress, tmp_path)

"""Every model type of the registry as a Core AI asset, run by Apple's runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from coreai_models import MODELS, SIZES, contexts_of, every_function, exported, model_of, rows_of
from neural_engine_rules import Function, check_rules

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import model_names

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai.apple import AIModelAsset, functions_in, operations_in
from lvm_fast.export.coreai.runtime import RunningAsset

if TYPE_CHECKING:
    from lvm_fast.export.mil.interpreter import SavedProgram

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
        "topk",
    ]
    assert verification.passed, verification.to_text()
    assert all(check.max_abs_error < 2e-6 for check in verification.functions)


def test_no_tensor_breaks_the_rules_of_the_neural_engine(asset: Exported) -> None:
    program = AIModelAsset.load(asset.path).program  # kept: its functions are empty without it
    loops = {
        name: sum(operation.name == "coreai.while" for operation in operations_in(graph))
        for name, graph in functions_in(program).items()
    }
    with RunningAsset(asset.path) as running:
        functions = {
            name: Function(
                running.input_shapes(name), running.output_shapes(name), dict(running.state_shapes(name)), loops[name]
            )
            for name in running.functions
        }
    check_rules(functions, asset.model.model_type)


def test_core_ml_and_core_ai_say_the_same(asset: Exported, tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    from lvm_fast.export.mil.interpreter import SavedProgram

    asked = every_function(asset.model)
    package = SavedProgram(lf.export_coreml(asset.model, tmp_path / "m.mlpackage", precision="float32", **asked))
    check_same(asset.path, package, rows_of(asset.model.input_dim, 23))


def test_core_ml_and_core_ai_say_the_same_of_a_router(tmp_path: Path) -> None:
    pytest.importorskip("coremltools")
    from lvm_fast.export.mil.interpreter import SavedProgram

    router = lf.Router({4: model_of("lstm"), 9: model_of("recency_mixer")})
    asked: dict[str, Any] = {"streaming": False, "precision": "float32", "bank": rows_of(16, 40), "topk": 3}
    package = SavedProgram(lf.export_coreml(router, tmp_path / "r.mlpackage", **asked))
    check_same(lf.export_coreai(router, tmp_path / "r.aimodel", **asked), package, rows_of(16, 23))


def check_same(asset: Path, package: SavedProgram, rows: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    """Every function gives the same outputs in Apple's runtime and in our interpreter."""
    with RunningAsset(asset) as running:
        assert running.functions == package.functions
        for name in running.functions:
            ((given, shape),) = running.input_shapes(name).items()
            steps = (
                [rows[None, : shape[1] or 13]] if given == "context" else [row[None] for row in rows_of(shape[-1], 23)]
            )
            states, kept = running.new_state(name), package.new_state(name)
            for step in steps:
                said, other = running.run(name, {given: step}, states), package.run(name, {given: step}, kept)
                assert said.keys() == other.keys()
                limit = 3e-3 if kept else 4e-6  # Core ML's states are float16
                for output, numbers in said.items():
                    assert numbers.dtype == other[output].dtype
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
    path = exported(model, folder, "float16", contexts=(5,), flexible=None, bank=None, compress=compress)
    checks = lf.verify_coreai(path, model).functions
    assert all(check.program_error <= check.tolerance and not check.wrong_weights for check in checks)
    has_matrices = compress is not None and name != "whitened_recency"
    assert all(check.program_error < check.max_abs_error for check in checks) or not has_matrices


@pytest.mark.parametrize("compress", ["palette6", "palette4"])
def test_palettes_are_those_of_the_model(compress: str, tmp_path: Path) -> None:
    check_half("memory_gru", compress, tmp_path)

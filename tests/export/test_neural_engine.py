"""Core ML packages fit the Neural Engine: how states are laid out, and a function without a loop."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from coreai_models import MODELS, every_function, model_of, rows_of
from neural_engine_rules import Function, check_rules

import lvm_fast as lf
from lvm_fast.export.state_layout import laid_out
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import types
from lvm_fast.export.mil.interpreter import SavedProgram, _operations
from lvm_fast.export.package.package import read_package, shape_of

EARLIER = Path(__file__).with_name("earlier_packages.zip")  # with their models, one of each kind of states


def packed(model: LatentVectorModel, folder: Path) -> dict[str, Function]:
    """All functions that the model's type has, in a Core ML package."""
    _, program = read_package(lf.export_coreml(model, folder / "m.mlpackage", **every_function(model)))
    functions = {}
    for name, block in program.functions.items():
        shapes = {given: shape_of(var) for given, var in block.inputs.items()}
        states = [given for given, var in block.inputs.items() if types.is_state(var.sym_type)]
        functions[name] = Function(
            inputs={given: shape for given, shape in shapes.items() if given not in states},
            outputs={var.name: shape_of(var) for var in block.outputs},
            states={given: shapes[given] for given in states},
            loops=sum(operation.op_type == "while_loop" for operation in _operations(block)),
        )
    return functions


@pytest.mark.parametrize("name", MODELS)
def test_no_tensor_of_a_package_breaks_the_rules(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    check_rules(packed(model, tmp_path), model.model_type)


@pytest.mark.parametrize(
    ("shape", "wanted"), [((1, 1), (1, 32)), ((2, 3, 32), (2, 3, 32)), ((1, 33), (1, 64)), ((1, 512), (1, 512))]
)
def test_rows_are_whole_groups(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    assert laid_out(shape) == wanted


@pytest.mark.parametrize("name", ["hierarchical_gru", "recency_mixer", "transformer"])
def test_what_stands_beside_a_models_own_numbers_stays_zero(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    saved = SavedProgram(lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=()))
    state = saved.new_state("step")
    for row in rows_of(16, 12):
        saved.run("step", {"vector": row[None]}, state)
    own = {"weights": 1, "read": 1, "taps": 16, "means": 16}
    for kept, array in state.items():
        width = own.get(kept, model.config["hidden_dim"])
        assert array[..., :width].any()
        assert not array[..., width:].any()


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("earlier")
    with zipfile.ZipFile(EARLIER) as file:
        file.extractall(folder)
    return folder


def earlier_models() -> Iterator[str]:
    with zipfile.ZipFile(EARLIER) as file:
        yield from sorted({name.split("/")[0] for name in file.namelist()})


@pytest.mark.parametrize("name", earlier_models())
def test_packages_that_kept_their_states_otherwise_still_verify(name: str, earlier: Path) -> None:
    package, model = earlier / name / "m.mlpackage", lf.load_model(earlier / name)
    verification = lf.verify_coreml(package, model)
    assert verification.passed, verification.to_text()
    saved = SavedProgram(package)
    assert {array.shape[-1] for array in saved.new_state("step").values()} & {1}
    rows = rows_of(model.input_dim, 5)
    state = saved.new_state("step")
    for row in rows:
        found = saved.run("step", {"vector": row[None]}, state)["next_vector"]
    np.testing.assert_allclose(found, model.predict(rows[None]), atol=5e-3)

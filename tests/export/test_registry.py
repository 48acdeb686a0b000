"""A model type exports with one new file and one line in the registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.model_types import MODELS
from lvm_fast.models.registry import model_names

pytest.importorskip("coremltools")

from lvm_fast.export.mil.interpreter import SavedProgram
from lvm_fast.export.mil.registry import PROGRAMS

TOY_MODEL = """
from torch import nn

from lvm_fast.models.causal import CausalModel
from lvm_fast.models.checks import check_sizes


class Turn(CausalModel):
    model_type = "turn"

    def __init__(self, input_dim=768, normalize_delta=False):
        super().__init__(check_sizes(self.model_type, input_dim=input_dim), normalize_delta)
        self.turn = nn.Linear(input_dim, input_dim)

    def hidden(self, context, lengths):
        return context

    def raw_delta(self, hidden):
        return self.turn(hidden)

    def start_steps(self, batch_size):
        return None

    def next_hidden(self, state, vector):
        return vector, state

    @classmethod
    def config_from_state(cls, state):
        return {}
"""

TOY_EXPORTER = """
from lvm_fast.export.mil.layers import last_row
from lvm_fast.export.mil.program import ModelProgram


class TurnProgram(ModelProgram):
    cannot_stream = "it is a toy"

    def raw_delta(self, context):
        return self.layers.dense(last_row(self.layers.to_precision(context)), "turn")
"""


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LatentVectorModel:
    """A model type of one file and one line, with random weights."""
    (tmp_path / "toy_turn_model.py").write_text(TOY_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODELS.places, "turn", "toy_turn_model:Turn")
    torch.manual_seed(0)
    model = lf.create_model("turn", input_dim=16)
    torch.nn.init.normal_(model.get_parameter("turn.weight"))
    return model.eval()


@pytest.fixture
def exporter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exporter: one file and one line, too."""
    (tmp_path / "toy_turn_program.py").write_text(TOY_EXPORTER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(PROGRAMS.places, "turn", "toy_turn_program:TurnProgram")


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_a_new_exporter_is_one_file_and_one_line(toy: LatentVectorModel, tmp_path: Path, precision: str) -> None:
    package = lf.export_coreml(
        toy, tmp_path / "toy.mlpackage", contexts=(3,), flexible=5, streaming=False, precision=precision
    )
    context = np.random.default_rng(0).standard_normal((1, 3, 16)).astype(np.float32)
    weight, bias = (toy.get_parameter(f"turn.{name}").detach().numpy() for name in ("weight", "bias"))
    expected = context[:, -1] + context[:, -1] @ weight.T + bias
    expected /= np.linalg.norm(expected)
    outputs = SavedProgram(package).run("predict_3", {"context": context})
    np.testing.assert_allclose(outputs["next_vector"], expected, atol=5e-3 if precision == "float16" else 1e-6)
    assert lf.verify_coreml(package, toy).passed
    toy.get_parameter("turn.bias").data[0] += 0.01
    assert not lf.verify_coreml(package, toy).passed


@pytest.mark.usefixtures("exporter")
def test_a_new_exporter_says_why_it_cannot_stream(toy: LatentVectorModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="turn has no step for streaming: it is a toy; pass streaming=False"):
        lf.export_coreml(toy, tmp_path / "toy.mlpackage", contexts=(3,))


def test_a_model_type_without_an_exporter_is_named(toy: LatentVectorModel, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="model_type 'turn' does not export yet; expected memory_gru or lstm or"):
        lf.export_coreml(toy, tmp_path / "toy.mlpackage", contexts=(3,), streaming=False)


def test_every_model_type_of_the_package_exports() -> None:
    assert set(PROGRAMS) == set(model_names())

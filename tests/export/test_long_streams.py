"""Streams of thousands of vectors, of which float16 alone could not keep count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.spaces.space import fit_space

ct = pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import Function, mb, types  # noqa: E402
from lvm_fast.export.mil.interpreter import SavedProgram  # noqa: E402
from lvm_fast.export.mil.split_precision import LARGEST_COUNT, count_of, counted, parts_of, whole  # noqa: E402
from lvm_fast.export.package.package import write_package  # noqa: E402


def saved_step(path: Path, moved: Any, kept: Any) -> SavedProgram:
    """A package whose function `f` makes ``moved(x, state)`` its output `y` and, by `kept`, its next state."""
    mb.name_count.clear()
    inputs = {"x": mb.placeholder((1, 3), types.fp32), "parts": mb.state_tensor_placeholder((2, 3), types.fp16)}
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        x, parts = function.inputs.values()
        y = moved(x, mb.read_state(input=parts))
        mb.coreml_update_state(state=parts, value=kept(y))
        function.set_outputs([mb.identity(x=y, name="y")])
    write_package({"f": function}, path / "m.mlpackage", lambda spec: None)
    return SavedProgram(path / "m.mlpackage")


def test_counts_are_exact_into_the_millions_and_then_stay(tmp_path: Path) -> None:
    saved = saved_step(tmp_path, lambda x, parts: mb.add(x=x, y=count_of(parts)), counted)
    state, total = saved.new_state("f"), 0
    for more in (1, 1, 2045, 1, 1, 1, 63_000, 1, 1, 99_999, 1, 3_700_000, 1, 1):
        total += more
        found = saved.run("f", {"x": np.full((1, 3), more, np.float32)}, state)["y"]
        assert found.tolist() == [[total] * 3]
    for _ in range(2):
        saved.run("f", {"x": np.full((1, 3), 1e6, np.float32)}, state)
    assert saved.run("f", {"x": np.zeros((1, 3), np.float32)}, state)["y"].tolist() == [[LARGEST_COUNT] * 3]


def test_parts_lose_almost_nothing_of_float32(tmp_path: Path, rng: np.random.Generator) -> None:
    saved = saved_step(tmp_path, lambda x, parts: mb.add(x=x, y=whole(parts)), parts_of)
    state = saved.new_state("f")
    x = (rng.standard_normal((1, 3)) * (1e-3, 0.05, 1.0)).astype(np.float32)
    saved.run("f", {"x": x}, state)
    kept = saved.run("f", {"x": np.zeros((1, 3), np.float32)}, state)["y"]
    assert (np.abs(kept - x) <= 2.0**-22 * np.abs(x)).all()


def stirred(name: str, **sizes: Any) -> LatentVectorModel:
    torch.manual_seed(0)
    model = lf.create_model(name, input_dim=8, **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def drifting(steps: int, shift: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Unit vectors around one direction, and from `shift` on around another."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((2, 8)).repeat((shift, steps - shift), axis=0)
    return lf.l2_normalize((centres + 0.7 * rng.standard_normal((steps, 8))).astype(np.float32))


def recency_models() -> dict[str, LatentVectorModel]:
    residual = stirred("recency_residual", hidden_dim=2, key_dim=2, taps=1, decays=(0.99, 1.0), decay=1.0)
    closed = stirred("whitened_recency", decay=1.0)
    for model in (residual, closed):
        model.set_space(fit_space(drifting(300, 150), "whitened"))
    return {
        "recency_mixer": stirred("recency_mixer", hidden_dim=4, taps=1, decays=(0.99, 1.0)),
        "recency_residual": residual,
        "whitened_recency": closed,
    }


@pytest.mark.parametrize("name", ["recency_mixer", "recency_residual", "whitened_recency"])
def test_a_recency_stream_is_the_model_after_thousands_of_vectors(name: str, tmp_path: Path) -> None:
    model = recency_models()[name]
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(), precision="float32")
    saved, rows = SavedProgram(package), drifting(4500, 2500)
    state = saved.new_state("step")
    for row in rows:
        found = saved.run("step", {"vector": row[None]}, state)["next_vector"]
    np.testing.assert_allclose(found, model.predict(rows[None]), atol=1e-5)


def test_a_transformers_stream_is_the_model_at_all_its_positions_and_not_a_number_past_them(tmp_path: Path) -> None:
    model = stirred("transformer", hidden_dim=2, num_layers=1, num_heads=1, feedforward_dim=4, max_positions=2060)
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(), precision="float32")
    saved, rows = SavedProgram(package), drifting(2062, 100)
    state = saved.new_state("step")
    found = [saved.run("step", {"vector": row[None]}, state)["next_vector"] for row in rows]
    for length in (2047, 2048, 2049, 2050, 2060):
        np.testing.assert_allclose(found[length - 1], model.predict(rows[None, :length]), atol=2e-3)
    assert np.isnan(found[2060:]).all()

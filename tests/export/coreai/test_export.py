"""`export_coreai`: what it refuses, before any work is done, and what it writes."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreai_models import model_of, rows_of

import lvm_fast as lf
from lvm_fast.export.expectations import read_expectations
from lvm_fast.export.options import expectations_path
from lvm_fast.models.base import LatentVectorModel


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("m.mlpackage", {}, "path is .*expected a name ending in .aimodel"),
        ("m.aimodel", {"contexts": (), "streaming": False}, "contexts is empty and streaming is off"),
        ("m.aimodel", {"contexts": (0,)}, r"contexts\[0\]: expected .*got 0"),
        ("m.aimodel", {"contexts": (3, 3)}, r"contexts\[1\] = 3 again"),
        ("m.aimodel", {"precision": "float61"}, "precision .*float16"),
        ("m.aimodel", {"compress": "int4"}, "compress .*palette4"),
        ("m.aimodel", {"flexible": 0}, "flexible: expected .*got 0"),
        ("m.aimodel", {"streaming": "yes"}, "streaming"),
        ("m.aimodel", {"bank": np.ones((4, 5), np.float32)}, "bank has 5 dimensions; expected 16"),
    ],
)
def test_bad_options_are_refused(
    name: str, options: dict[str, Any], said: str, small: LatentVectorModel, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=f"^export_coreai: .*{said}"):
        lf.export_coreai(small, tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_stream_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^export_coreai: amn has no step for streaming: .*no-streaming"):
        lf.export_coreai(model_of("amn"), tmp_path / "m.aimodel", contexts=(3,))


def test_weights_that_are_not_finite_are_refused(small: LatentVectorModel, tmp_path: Path) -> None:
    broken = copy.deepcopy(small)
    with torch.no_grad():
        broken.get_parameter("input_norm.bias")[0] = torch.inf
    with pytest.raises(ValueError, match=r"^export_coreai: input_norm\.bias of the model holds NaN or Inf"):
        lf.export_coreai(broken, tmp_path / "m.aimodel", contexts=(3,))


def test_weights_beyond_float16_need_float32(small: LatentVectorModel, tmp_path: Path) -> None:
    pytest.importorskip("coreai_torch")
    broken = copy.deepcopy(small)
    with torch.no_grad():
        broken.get_parameter("input_norm.bias")[0] = 1e6
    with pytest.raises(ValueError, match=r"^export_coreai: input_norm\.bias holds 1e\+06; .*largest float16"):
        lf.export_coreai(broken, tmp_path / "m.aimodel", contexts=(3,))
    lf.export_coreai(broken, tmp_path / "m.aimodel", contexts=(3,), streaming=False, precision="float32")


def test_contexts_beyond_the_positions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="41"):
        lf.export_coreai(model_of("transformer"), tmp_path / "m.aimodel", contexts=(41,))


def test_a_changed_model_is_refused(small: LatentVectorModel, tmp_path: Path) -> None:
    changed = copy.deepcopy(small)
    changed.input_norm.register_forward_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"^export_coreai: "):
        lf.export_coreai(changed, tmp_path / "m.aimodel", contexts=(3,))


def test_an_asset_is_not_replaced_unless_asked(small: LatentVectorModel, small_asset: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.aimodel"
    path.mkdir()
    with pytest.raises(FileExistsError, match=r"^export_coreai: .*--overwrite"):
        lf.export_coreai(small, path, contexts=(3,))
    lf.export_coreai(small, path, contexts=(3,), overwrite=True)
    assert sorted(item.name for item in path.iterdir()) == ["main.hash", "main.mlirb", "metadata.json"]


def test_expectations_lie_beside_an_asset(small: LatentVectorModel, small_asset: Path) -> None:
    assert expectations_path(small_asset).name == "small.aimodel.expected.safetensors"
    functions, about = read_expectations(small_asset)
    assert list(functions) == ["predict_3", "step"]
    assert about["precision"] == "float32"
    context = functions["predict_3"]["context"]
    np.testing.assert_allclose(functions["predict_3"]["next_vector"], small.predict(context), atol=1e-6)


def test_an_asset_says_what_it_is(small_asset: Path) -> None:
    about = json.loads((small_asset / "metadata.json").read_text())
    assert about["author"] == "The lvm_fast developers"
    said = about["creatorDefinedMetadata"]
    assert said["lvm_fast.model_type"] == "memory_gru"
    assert json.loads(said["lvm_fast.functions"]) == ["predict_3", "step"]
    assert said["lvm_fast.features"]["predict_3"]["context"].endswith("Shape [1, 3, 16], float32.")
    assert said["lvm_fast.features"]["step"]["hidden_0"].endswith("Shape [1, 32], float32.")
    assert {"coreai-core.version", "coreai-torch.version", "torch.version"} <= said.keys()


def test_weights_are_stored_once_for_all_functions(tmp_path: Path) -> None:
    pytest.importorskip("coreai_torch")
    model = model_of("memory_gru", input_dim=64, hidden_dim=96)
    one = lf.export_coreai(model, tmp_path / "one.aimodel", contexts=(3,), streaming=False)
    four = lf.export_coreai(model, tmp_path / "four.aimodel", contexts=(3, 5, 9))
    sizes = [(path / "main.mlirb").stat().st_size for path in (one, four)]
    stored = 2 * sum(parameter.numel() for parameter in model.parameters())
    assert sizes[0] < 1.1 * stored + 60_000
    assert sizes[1] - sizes[0] < stored / 3


def test_the_recency_models_stream_a_thousand_vectors(tmp_path: Path) -> None:
    pytest.importorskip("coreai_torch")
    from lvm_fast.export.coreai.runtime import RunningAsset

    model = model_of("recency_residual")
    rows = np.tile(rows_of(16, 200), (5, 1))
    with RunningAsset(lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(), precision="float32")) as running:
        states = running.new_state("step")
        for row in rows:
            said = running.run("step", {"vector": row[None]}, states)["next_vector"]
    np.testing.assert_allclose(said, model.predict(rows[None]), atol=5e-6)


def test_a_stream_past_a_transformers_positions_says_nan(tmp_path: Path) -> None:
    pytest.importorskip("coreai_torch")
    from lvm_fast.export.coreai.runtime import RunningAsset

    model = model_of("transformer", max_positions=4)
    with RunningAsset(lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(), precision="float32")) as running:
        states = running.new_state("step")
        ends = [np.isnan(running.run("step", {"vector": row[None]}, states)["next_vector"]) for row in rows_of(16, 5)]
    assert not np.any(ends[:4])
    assert np.all(ends[4])

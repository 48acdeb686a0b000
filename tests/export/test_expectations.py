"""``expected.safetensors``, which a device is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

from lvm_fast.export.expectations import read_expectations
from lvm_fast.export.mil_interpreter import SavedProgram


def expected_beside(package: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    path = package.with_name("expected.safetensors")
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    return load_file(path), metadata


@pytest.fixture
def whole(model: LatentVectorModel, tmp_path: Path) -> Path:
    """A package with every kind of function."""
    bank = np.random.default_rng(2).standard_normal((30, 16)).astype(np.float32)
    options = {"flexible": 9, "bank": bank, "topk": 4, "precision": "float32"}
    return lf.export_coreml(model, tmp_path / "whole.mlpackage", contexts=(3, 5), **options)


def test_every_function_has_its_inputs_and_outputs(whole: Path) -> None:
    tensors, _ = expected_beside(whole)
    shapes = {name: (array.dtype.name, array.shape) for name, array in tensors.items()}
    outputs = {"next_vector": ("float32", (1, 16)), "delta": ("float32", (1, 16))}
    assert shapes == {
        **{
            f"whole/{function}/{part}": shape
            for function, length in (("predict_3", 3), ("predict_5", 5), ("predict", 9))
            for part, shape in {"context": ("float32", (1, length, 16)), **outputs}.items()
        },
        **{f"whole/step/{part}": ("float32", (32, 16)) for part in ("vector", "next_vector", "delta")},
        "whole/topk/query": ("float32", (32, 16)),
        "whole/topk/scores": ("float32", (32, 4)),
        "whole/topk/ids": ("int32", (32, 4)),
    }


def test_the_package_computes_what_is_expected(whole: Path, model: LatentVectorModel) -> None:
    tensors, _ = expected_beside(whole)
    saved = SavedProgram(whole)
    for function in saved.functions:
        (name,) = saved.input_shapes(function)
        wanted = {part: tensors[f"whole/{function}/{part}"] for part in ("scores", "ids") if name == "query"}
        wanted |= {part: tensors[f"whole/{function}/{part}"] for part in ("next_vector", "delta") if name != "query"}
        given, state = tensors[f"whole/{function}/{name}"], saved.new_state(function)
        for place in range(len(given)):
            found = saved.run(function, {name: given[place : place + 1]}, state)
            for part, array in wanted.items():
                np.testing.assert_allclose(found[part][0], array[place], atol=2e-3, rtol=0)


def test_packages_of_one_folder_share_the_file(whole: Path, model: LatentVectorModel) -> None:
    before, _ = expected_beside(whole)
    other = lf.export_coreml(model, whole.with_name("other.mlpackage"), contexts=(4,), streaming=False, compress="int8")
    both, metadata = expected_beside(other)
    for name, array in before.items():
        np.testing.assert_array_equal(both[name], array)
    assert {name for name in both if name.startswith("other/")} == {
        f"other/predict_4/{part}" for part in ("context", "next_vector", "delta")
    }
    assert json.loads(metadata["whole/about"]) == {
        "model_type": "memory_gru",
        "precision": "float32",
        "compress": None,
        "min_cosine": 0.999,
        "max_score_error": 0.01,
    }
    assert json.loads(metadata["other/about"])["compress"] == "int8"
    lf.export_coreml(model, other, contexts=(6,), streaming=False, overwrite=True)
    replaced, metadata = expected_beside(other)
    assert {name.split("/")[1] for name in replaced if name.startswith("other/")} == {"predict_6"}
    assert json.loads(metadata["other/about"])["compress"] is None


@pytest.mark.parametrize("name", ["lvm_fast", "about", "a.b"])
def test_packages_may_have_any_name(model: LatentVectorModel, tmp_path: Path, name: str) -> None:
    for package in (tmp_path / f"{name}.mlpackage", tmp_path / "other.mlpackage"):
        lf.export_coreml(model, package, contexts=(3,), streaming=False)
        functions, about = read_expectations(package)
        assert list(functions) == ["predict_3"]
        assert about["min_cosine"] == 0.999


def test_very_long_contexts_are_left_out(model: LatentVectorModel, tmp_path: Path) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3, 5000), streaming=False)
    assert {name.split("/")[1] for name in expected_beside(package)[0]} == {"predict_3"}


@pytest.mark.parametrize("content", ["notes", "tensors"])
def test_a_file_that_is_something_else_is_kept(model: LatentVectorModel, tmp_path: Path, content: str) -> None:
    path = tmp_path / "expected.safetensors"
    if content == "notes":
        path.write_text("mine")
    else:
        save_file({"mine": np.ones(3, np.float32)}, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is no file of expectations; export into another folder"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["expected.safetensors"]


def test_a_failed_export_leaves_no_expectations(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr("lvm_fast.export.package.write_package", fail)
    with pytest.raises(OSError, match="no room"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    assert not list(tmp_path.iterdir())

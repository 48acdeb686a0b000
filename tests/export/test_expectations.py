"""``NAME.expected.safetensors``, which a device is compared with."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
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
from lvm_fast.export.mil.interpreter import SavedProgram


def expected_beside(package: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    path = package.with_name(f"{package.stem}.expected.safetensors")
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


def test_packages_of_one_folder_have_a_file_each(whole: Path, model: LatentVectorModel) -> None:
    before, known = expected_beside(whole)
    other = lf.export_coreml(model, whole.with_name("other.mlpackage"), contexts=(4,), streaming=False, compress="int8")
    again, metadata = expected_beside(whole)
    assert again.keys() == before.keys()
    assert metadata == known
    assert json.loads(metadata["whole/about"]) == {
        "model_type": "memory_gru",
        "precision": "float32",
        "compress": None,
        "min_cosine": 0.999,
        "max_score_error": 0.01,
    }
    tensors, metadata = expected_beside(other)
    assert set(tensors) == {f"other/predict_4/{part}" for part in ("context", "next_vector", "delta")}
    assert json.loads(metadata["other/about"])["compress"] == "int8"
    lf.export_coreml(model, other, contexts=(6,), streaming=False, overwrite=True)
    replaced, metadata = expected_beside(other)
    assert {name.split("/")[1] for name in replaced} == {"predict_6"}
    assert json.loads(metadata["other/about"])["compress"] is None


def test_the_file_beside_is_replaced_only_when_asked(model: LatentVectorModel, tmp_path: Path) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), streaming=False)
    before = (tmp_path / "m.expected.safetensors").read_bytes()
    shutil.rmtree(package)
    said = r"the file beside the package = '.*m\.expected\.safetensors' exists already; pass overwrite=True"
    with pytest.raises(FileExistsError, match=said):
        lf.export_coreml(model, package, contexts=(4,), streaming=False)
    assert (tmp_path / "m.expected.safetensors").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.expected.safetensors"]
    lf.export_coreml(model, package, contexts=(4,), streaming=False, overwrite=True)
    assert list(read_expectations(package)[0]) == ["predict_4"]


def test_the_bank_is_never_written_over(model: LatentVectorModel, tmp_path: Path) -> None:
    rows = np.random.default_rng(2).standard_normal((30, 16)).astype(np.float32)
    bank = tmp_path / "m.expected.safetensors"
    lf.ChainStore.write(bank, rows, [0, 30])
    before = bank.read_bytes()
    with pytest.raises(ValueError, match=r"the file beside the package = '.*m\.expected\.safetensors' is an input too"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", bank=lf.ChainStore.open(bank), overwrite=True)
    inside = tmp_path / "n.mlpackage" / "bank.safetensors"
    inside.parent.mkdir()
    bank.rename(inside)
    with pytest.raises(ValueError, match=r"path = '.*n\.mlpackage' holds '.*bank\.safetensors', an input"):
        lf.export_coreml(model, tmp_path / "n.mlpackage", bank=lf.ChainStore.open(inside), overwrite=True)
    assert inside.read_bytes() == before


def as_it_used_to_be(whole: Path, other: str) -> None:
    """Make the file beside a package the one that packages of a folder shared."""
    tensors, metadata = expected_beside(whole)
    tensors |= {name.replace("whole", other, 1): array + 1 for name, array in tensors.items()}
    metadata[f"{other}/about"] = metadata["whole/about"]
    save_file(tensors, whole.with_name("expected.safetensors"), metadata)
    whole.with_name("whole.expected.safetensors").unlink()


def test_the_shared_file_of_older_packages_is_read(whole: Path) -> None:
    functions, about = read_expectations(whole)
    as_it_used_to_be(whole, "other")
    old, known = read_expectations(whole)
    assert known == about
    assert old.keys() == functions.keys()
    for function, parts in functions.items():
        for part, array in parts.items():
            np.testing.assert_array_equal(old[function][part], array)
    with pytest.raises(FileNotFoundError, match=r"holds no expectations of third\.mlpackage; export it again"):
        read_expectations(whole.with_name("third.mlpackage"))


def change(path: Path, how: str) -> None:
    tensors, metadata = load_file(path), {}
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    if how == "no about":
        del metadata["whole/about"]
    elif how == "about lacks a limit":
        metadata["whole/about"] = json.dumps({"model_type": "gru", "precision": "float32", "compress": None})
    elif how == "about is deep":
        metadata["whole/about"] = "[" * 100_000
    elif how == "about has a key twice":
        metadata["whole/about"] = metadata["whole/about"].replace('"compress"', '"precision"')
    elif how == "no output":
        del tensors["whole/step/delta"]
    elif how == "no input":
        del tensors["whole/topk/query"]
    elif how == "another output":
        tensors["whole/step/other"] = tensors["whole/step/delta"]
    elif how == "fewer calls":
        tensors["whole/step/delta"] = tensors["whole/step/delta"][:3].copy()
    elif how == "a single number":
        tensors["whole/step/delta"] = np.array(3, np.float32)
    save_file(tensors, path, metadata)
    if how == "broken header":
        path.write_bytes(path.read_bytes()[:9] + b"!" + path.read_bytes()[10:])
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no about", "what it says of the package is missing; expected model_type"),
        ("about lacks a limit", "what it says of the package is {.*; expected model_type, precision, compress"),
        ("about is deep", "more than 127 lists and objects inside each other"),
        ("about has a key twice", "the key 'precision' stands twice"),
        ("no output", "of function 'step' it has next_vector, vector; expected inputs and outputs"),
        ("no input", "of function 'topk' it has ids, scores; expected inputs and outputs"),
        ("another output", "of function 'step' it has delta, next_vector, other, vector"),
        ("fewer calls", "the inputs and outputs of function 'step' are not of as many calls"),
        ("a single number", "the inputs and outputs of function 'step' are not of as many calls"),
        ("broken header", "the header is no valid JSON"),
        ("truncated", "truncated or damaged"),
    ],
)
def test_damage_is_named(whole: Path, how: str, message: str, old: bool) -> None:
    path = whole.with_name("whole.expected.safetensors")
    if old:
        as_it_used_to_be(whole, "other")
        path = whole.with_name("expected.safetensors")
    change(path, how)
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: .*{message}.*; export whole\.mlpackage again"):
        read_expectations(whole)


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
    path = tmp_path / "m.expected.safetensors"
    if content == "notes":
        path.write_text("mine")
    else:
        save_file({"mine": np.ones(3, np.float32)}, path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="is no file of expectations; export into another folder"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), overwrite=True)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["m.expected.safetensors"]


def test_a_failed_export_leaves_no_expectations(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> None:
        raise OSError("no room")

    monkeypatch.setattr(import_module("lvm_fast.export.package.package"), "write_package", fail)
    with pytest.raises(OSError, match="no room"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    assert not list(tmp_path.iterdir())

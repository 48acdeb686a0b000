"""What `verify_coreml` says of packages that are not ours, or no longer what they were."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import Function, mb, types  # noqa: E402
from lvm_fast.export.package.package import write_package  # noqa: E402


@pytest.fixture
def altered(model: LatentVectorModel, tmp_path: Path) -> Callable[[Callable[[Any], Any]], Path]:
    """Exports `model` with a bank, and hands the package's description to a function that alters it in place."""

    def make(alter: Callable[[Any], Any]) -> Path:
        bank = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
        package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), bank=bank)
        spec = ct.utils.load_spec(str(package))
        alter(spec.description)
        (package / "Data/com.apple.CoreML/model.mlmodel").write_bytes(spec.SerializeToString())
        return package

    return make


def test_a_package_of_ours_names_its_functions(altered: Callable[..., Path], model: LatentVectorModel) -> None:
    package = altered(lambda description: None)
    facts = ct.utils.load_spec(str(package)).description.metadata.userDefined
    assert json.loads(facts["lvm_fast.functions"]) == ["predict_3", "step", "topk"]
    assert lf.verify_coreml(package, model).passed


def test_packages_of_others_are_refused_before_their_operations_are_read(
    model: LatentVectorModel, tmp_path: Path
) -> None:
    mb.name_count.clear()
    with Function({"x": mb.placeholder((1, 3), types.fp32)}, opset_version=ct.target.iOS18) as function:
        function.set_outputs([mb.erf(x=function.inputs["x"], name="y")])
    write_package({"f": function}, tmp_path / "m.mlpackage", lambda spec: None)
    with pytest.raises(ValueError, match="was not exported by lvm_fast"):
        lf.verify_coreml(tmp_path / "m.mlpackage", model)


@pytest.mark.parametrize(
    ("fact", "value", "message"),
    [
        ("config", '{"input_dim": 16, "space": 3}', "config is .*; expected a kind for each space"),
        ("config", '{"input_dim": 16, "space": {}}', "config is .*; expected a kind for each space"),
        ("config", '{"input_dim": 16, "arms": [1]}', "config is .*; expected a kind for each space"),
        ("precision", None, "precision is missing; expected float16 or float32"),
        ("precision", "float8", "precision is float8; expected float16 or float32"),
        ("compress", "zip", "compress is zip; expected a compression or none"),
        ("config", '{"hidden_dim": 12}', r'config is {"hidden_dim": 12}; expected JSON with input_dim'),
        ("config", "{", "config is {; expected JSON with input_dim"),
        ("flexible", '"many"', 'flexible is "many"; expected null or a number'),
        ("flexible", "many", "flexible is many; expected null or a number"),
        ("functions", None, "functions is missing; expected a JSON list of names"),
        ("functions", "[]", r"functions is \[\]; expected a JSON list of names"),
        ("config", "[" * 100_000, r"config is \[{60}; expected JSON with input_dim"),
        ("config", '{"input_dim": 16, "input_dim": 16}', "config is .*; expected JSON with input_dim"),
        ("functions", "[" * 100_000, r"functions is \[{60}; expected a JSON list of names"),
        ("bank", '{"a":' * 100_000, "bank is .{60}; expected JSON with dtype, topk and sha256"),
        ("flexible", "1e999", "flexible is 1e999; expected null or a number"),
        ("bank", "[1]", r"bank is \[1\]; expected JSON with dtype, topk and sha256"),
    ],
)
def test_damaged_metadata_is_one_clear_error(
    altered: Callable[..., Path], model: LatentVectorModel, fact: str, value: str | None, message: str
) -> None:
    def alter(description: Any) -> None:
        facts = description.metadata.userDefined
        del facts[f"lvm_fast.{fact}"]
        if value is not None:
            facts[f"lvm_fast.{fact}"] = value

    with pytest.raises(ValueError, match=f"is damaged: lvm_fast.{message}; export it again"):
        lf.verify_coreml(altered(alter), model)


def test_deep_metadata_is_one_line_and_exit_code_2(
    altered: Callable[..., Path], model: LatentVectorModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = altered(lambda about: about.metadata.userDefined.update({"lvm_fast.config": "[" * 100_000}))
    model.save_pretrained(tmp_path / "saved")
    assert main(["verify", str(package), "--checkpoint", str(tmp_path / "saved")]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"lvm-fast: error: verify_coreml: {package} is damaged: lvm_fast.config is [[[")
    assert said.count("\n") == 1


def test_a_function_that_is_described_but_not_there_is_named(
    altered: Callable[..., Path], model: LatentVectorModel
) -> None:
    def rename(description: Any) -> None:
        description.functions[1].name = "walk"

    with pytest.raises(ValueError, match="function 'walk' is described, but there is none"):
        lf.verify_coreml(altered(rename), model)


def test_a_function_that_is_gone_is_missed(altered: Callable[..., Path], model: LatentVectorModel) -> None:
    package = altered(lambda description: description.functions.pop(1))
    with pytest.raises(ValueError, match="has the functions predict_3, topk; predict_3, step, topk were exported"):
        lf.verify_coreml(package, model)


def test_a_bank_that_nobody_knows_of_is_no_function_of_ours(
    altered: Callable[..., Path], model: LatentVectorModel
) -> None:
    package = altered(lambda description: description.metadata.userDefined.pop("lvm_fast.bank"))
    with pytest.raises(ValueError, match=r"function 'topk' has inputs .*; no function of ours has"):
        lf.verify_coreml(package, model)

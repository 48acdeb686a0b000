"""bench/coreml_device.py: what it measures, with the interpreter in the place of Core ML."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

import coreml_device

from lvm_fast.export.expectations import read_expectations
from lvm_fast.export.mil.interpreter import SavedProgram

Measure: TypeAlias = Callable[..., list[coreml_device.Measured]]


class Model:
    """A function of a package as coremltools hands it out."""

    def __init__(self, package: Path, function: str) -> None:
        self._program, self._function = SavedProgram(package), function

    def make_state(self) -> Any:
        return self._program.new_state(self._function)

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        return self._program.run(self._function, inputs, state)


class Device:
    """Loads and plans a function of a package."""

    def __init__(self, package: Path, function: str) -> None:
        self._package, self._function = package, function

    def load(self) -> Any:
        return Model(self._package, self._function)

    def placement(self, model: Any) -> dict[str, float]:
        return {"NE": 0.75, "CPU": 0.25}


@pytest.fixture(scope="module")
def package(small_model: Callable[[], LatentVectorModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    bank = np.random.default_rng(2).standard_normal((30, 16)).astype(np.float32)
    path = tmp_path_factory.mktemp("device") / "m.mlpackage"
    return lf.export_coreml(small_model(), path, contexts=(3,), bank=bank, topk=4)


@pytest.fixture
def measured(package: Path) -> Callable[..., list[coreml_device.Measured]]:
    """Measures all functions of a package by what is expected of `package`."""

    def measure(of: Path = package) -> list[coreml_device.Measured]:
        functions, about = read_expectations(package)
        return [
            coreml_device.measure(Device(of, name), name, "ALL", parts, 5, about) for name, parts in functions.items()
        ]

    return measure


def test_every_function_is_timed_and_compared(package: Path, measured: Measure) -> None:
    rows = measured()
    assert {row.function for row in rows} == {"predict_3", "step", "topk"}
    for row in rows:
        assert row.passed
        assert 0 < row.median_ms <= row.p95_ms
        assert row.max_error < 5e-3
    text = coreml_device.report(rows, read_expectations(package)[1])
    assert text.startswith("memory_gru, float16, compress none")
    assert text.count("CPU 25%, NE 75%") == 3
    assert "WRONG" not in text


def test_outputs_of_another_model_are_wrong(
    package: Path, measured: Measure, small_model: Callable[..., LatentVectorModel], tmp_path: Path
) -> None:
    other = small_model()
    other.get_parameter("output_proj.3.bias").data.neg_()
    bank = np.random.default_rng(3).standard_normal((30, 16)).astype(np.float32)
    rows = measured(lf.export_coreml(other, tmp_path / "other.mlpackage", contexts=(3,), bank=bank, topk=4))
    assert not any(row.passed for row in rows)
    assert coreml_device.report(rows, read_expectations(package)[1]).count("WRONG") == 3


def test_outputs_that_are_no_numbers_are_wrong(measured: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    predict = Model.predict

    def nothing(*call: Any, **options: Any) -> dict[str, Any]:
        return {part: array * np.nan for part, array in predict(*call, **options).items()}

    monkeypatch.setattr(Model, "predict", nothing)
    assert not any(row.passed for row in measured())


WRONG_IDS = {
    "others": lambda ids: (ids + 1) % 30,
    "one alone": lambda ids: ids * 0,
    "upside down": lambda ids: ids[:, ::-1],
}


@pytest.mark.parametrize("wrong", WRONG_IDS)
def test_wrong_ids_are_wrong_though_every_score_is_right(
    measured: Measure, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    predict = Model.predict

    def mistaken(*call: Any, **options: Any) -> dict[str, Any]:
        outputs = predict(*call, **options)
        return outputs | {"ids": WRONG_IDS[wrong](outputs["ids"])} if "ids" in outputs else outputs

    monkeypatch.setattr(Model, "predict", mistaken)
    assert {row.function: row.passed for row in measured()} == {"predict_3": True, "step": True, "topk": False}


def test_loading_is_timed_without_the_plan(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "placement", lambda self, model: time.sleep(1.0) or {})
    functions, about = read_expectations(package)
    row = coreml_device.measure(Device(package, "predict_3"), "predict_3", "ALL", functions["predict_3"], 2, about)
    assert row.load_s < 1.0


def test_a_package_without_expectations_is_named(package: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no expectations of other\.mlpackage; export it again"):
        read_expectations(package.with_name("other.mlpackage"))


@pytest.mark.skipif(sys.platform == "darwin", reason="says so elsewhere only")
def test_elsewhere_it_says_that_nothing_was_measured(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert coreml_device.main([str(package)]) == 2
    assert "Core ML runs on Apple systems only" in capsys.readouterr().err


@pytest.mark.apple
def test_core_ml_computes_what_is_expected_on_every_compute_unit(package: Path) -> None:
    assert coreml_device.main([str(package), "--repeat", "5"]) == 0


def test_damaged_expectations_are_one_line_and_exit_code_2(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(coreml_device.sys, "platform", "darwin")
    other = tmp_path / "m.mlpackage"
    assert coreml_device.main([str(other)]) == 2
    assert "holds no expectations of m.mlpackage; export it again" in capsys.readouterr().err
    whole = package.with_name("m.expected.safetensors").read_bytes()
    (tmp_path / "m.expected.safetensors").write_bytes(whole[:-1])
    assert coreml_device.main([str(other)]) == 2
    said = capsys.readouterr().err
    assert "m.expected.safetensors is damaged: " in said
    assert said.count("\n") == 1

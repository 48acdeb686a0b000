"""bench/coreml_device.py: what it measures, with the interpreter in the place of Core ML."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

import coreml_device

from lvm_fast.export.expectations import read_expectations
from lvm_fast.export.mil_interpreter import SavedProgram


class Device:
    """A function of a package as coremltools hands it out."""

    def __init__(self, package: Path, function: str) -> None:
        self._program, self._function = SavedProgram(package), function

    def make_state(self) -> Any:
        return self._program.new_state(self._function)

    def predict(self, inputs: dict[str, Any], state: Any = None) -> dict[str, Any]:
        return self._program.run(self._function, inputs, state)


@pytest.fixture(scope="module")
def package(small_model: Callable[[], LatentVectorModel], tmp_path_factory: pytest.TempPathFactory) -> Path:
    bank = np.random.default_rng(2).standard_normal((30, 16)).astype(np.float32)
    path = tmp_path_factory.mktemp("device") / "m.mlpackage"
    return lf.export_coreml(small_model(), path, contexts=(3,), bank=bank, topk=4)


def measured(package: Path, **changes: Any) -> list[coreml_device.Measured]:
    functions, about = read_expectations(package)
    about |= changes
    placement = {"NE": 0.75, "CPU": 0.25}
    return [
        coreml_device.measure(lambda name=name: (Device(package, name), placement), name, "ALL", parts, 5, about)
        for name, parts in functions.items()
    ]


def test_every_function_is_timed_and_compared(package: Path) -> None:
    rows = measured(package)
    assert {row.function for row in rows} == {"predict_3", "step", "topk"}
    for row in rows:
        assert row.passed
        assert 0 < row.median_ms <= row.p95_ms
        assert row.max_error < 5e-3
    text = coreml_device.report(rows, read_expectations(package)[1])
    assert text.startswith("memory_gru, float16, compress none")
    assert text.count("CPU 25%, NE 75%") == 3
    assert "WRONG" not in text


def test_outputs_of_another_model_are_wrong(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = measured(package, min_cosine=1.1)
    assert [row.passed for row in rows] == [row.function == "topk" for row in rows]
    assert "WRONG" in coreml_device.report(rows, read_expectations(package)[1])
    monkeypatch.setattr(
        Device,
        "predict",
        lambda self, inputs, state=None: {
            "next_vector": np.full((1, 16), np.nan),
            "delta": np.zeros((1, 16)),
            "scores": np.zeros((1, 4)),
        },
    )
    assert not any(row.passed for row in measured(package))


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

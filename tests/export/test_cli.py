"""`lvm-fast export` and `lvm-fast verify`."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

from lvm_fast.export.mil.interpreter import SavedProgram


@pytest.fixture
def saved(model: LatentVectorModel, tmp_path: Path) -> Path:
    model.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_export_then_verify(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = tmp_path / "m.mlpackage"
    assert main(["export", str(saved), "--output", str(package), "--contexts", "3", "5"]) == 0
    captured = capsys.readouterr()
    assert f"{package}: predict_3, predict_5, step; float16, " in captured.out
    assert captured.err == ""
    assert main(["verify", str(package), "--checkpoint", str(saved)]) == 0
    assert capsys.readouterr().out.count("equal") == 3


def test_verify_ends_with_1_where_the_models_differ(saved: Path, tmp_path: Path, package: Path) -> None:
    model = lf.load_model(saved)
    model.get_parameter("fusion.0.bias").data.neg_()
    model.save_pretrained(tmp_path / "other")
    assert main(["verify", str(package), "--checkpoint", str(saved)]) == 0
    assert main(["verify", str(package), "--checkpoint", str(tmp_path / "other")]) == 1


def test_two_exports_into_one_folder_stand_beside_each_other(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        words = ["--output", str(tmp_path / f"{name}.mlpackage"), "--contexts", "3", "--no-streaming"]
        assert main(["export", str(saved), *words]) == 0
    names = ["a.expected.safetensors", "a.mlpackage", "b.expected.safetensors", "b.mlpackage", "saved"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    capsys.readouterr()
    assert main(["export", str(saved), *words]) == 2
    assert "b.mlpackage exists already; pass overwrite=True (--overwrite) to replace it" in capsys.readouterr().err
    assert main(["export", str(saved), *words, "--overwrite"]) == 0


def test_an_export_never_writes_over_what_it_is_made_of(
    model: LatentVectorModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package, bank = tmp_path / "m.mlpackage", tmp_path / "m.expected.safetensors"
    model.save_pretrained(package)  # the model itself is called like a package
    lf.ChainStore.write(bank, np.eye(16, dtype=np.float32), [0, 16])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    (tmp_path / "link").symlink_to(package)
    for name in ("m.mlpackage", "link"):
        assert main(["export", str(tmp_path / name), "--output", str(package), "--overwrite"]) == 2
        said = f"export_coreml: path = '{package}' holds '{tmp_path / name}', an input; expected another\n"
        assert capsys.readouterr().err == f"lvm-fast: error: {said}"
    package.rename(tmp_path / "model")
    words = ["export", str(tmp_path / "model"), "--output", str(package), "--bank", str(bank), "--overwrite"]
    assert main(words) == 2
    assert f"the file beside the package = '{bank}' is an input too; expected another file" in capsys.readouterr().err
    (tmp_path / "model").rename(package)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_options_reach_the_package(saved: Path, tmp_path: Path) -> None:
    package = tmp_path / "m.mlpackage"
    arguments = ["export", str(saved), "--output", str(package), "--contexts", "3", "--no-streaming"]
    assert main([*arguments, "--precision", "float32", "--target", "ios16"]) == 0
    (check,) = lf.verify_coreml(package, lf.load_model(saved)).functions
    assert check.name == "main"
    assert check.max_abs_error < 1e-5
    assert main([*arguments, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--contexts", "0"], "contexts[0]: expected a whole number from 1 to 1000000, got 0"),
        (["--precision", "int4"], "unknown precision 'int4'; there are: float16, float32"),
        (["--contexts", "five"], "export: --contexts has 'five'; expected whole numbers, such as 100 500"),
        (["--target", "ios17", "--contexts", "3", "--streaming"], "pass streaming=False (--no-streaming)"),
    ],
)
def test_bad_options_are_one_line_and_exit_code_2(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["export", str(saved), "--output", str(tmp_path / "m.mlpackage"), *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("lvm-fast: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "m.mlpackage").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--output", "m.mlpackage", "--topk", "3"], "--topk is used with --bank only"),
        (["--output", "m.mlpackage", "--bank-dtype", "int8"], "--bank-dtype is used with --bank only"),
        (["--output", "m.mlpackage", "--pool", "store"], "--pool is used with --compare only"),
        (["--output", "m.mlpackage", "--val-fraction", "0.3"], "--val-fraction is used with --compare only"),
        *(
            (["--compare", *option], f"{option[0]} is used without --compare only")
            for option in (
                ["--compress", "int8"],
                ["--precision", "float32"],
                ["--bank", "sample"],
                ["--topk", "3"],
                ["--target", "ios17"],
                ["--flexible", "9"],
                ["--author", "Me"],
                ["--overwrite"],
            )
        ),
    ],
)
def test_options_that_would_not_be_used_are_an_error(
    saved: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main(["export", str(saved), *options]) == 2
    assert capsys.readouterr().err.startswith(f"lvm-fast: error: export: {message}")


def trained(name: str, folder: Path, **sizes: Any) -> Path:
    """A saved model that does not look untrained."""
    model = lf.create_model(name, input_dim=16, hidden_dim=12, **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3)
    model.save_pretrained(folder / "saved")
    return folder / "saved"


TRANSFORMER = {"num_heads": 2, "num_layers": 1, "feedforward_dim": 8}


@pytest.mark.parametrize(
    ("name", "sizes", "options", "functions", "left_out"),
    [
        ("lstm", {}, [], "predict_100, predict_500, predict_1000, step", []),
        (
            "transformer",
            {**TRANSFORMER, "max_positions": 120},
            [],
            "predict_100, step",
            ["predict_500, predict_1000: the model has 120 positions"],
        ),
        (
            "transformer",
            {**TRANSFORMER, "max_positions": 20},
            [],
            "predict_20, step",
            ["predict_100, predict_500, predict_1000: the model has 20 positions"],
        ),
        (
            "amn",
            {"attention_dim": 6, "bottleneck_dim": 8},
            ["--contexts", "3"],
            "predict_3",
            ["step: each step asks all vectors so far anew, and a state has a fixed size"],
        ),
        (
            "lstm",
            {},
            ["--target", "ios17"],
            "main",
            [
                "predict_500, predict_1000: target 'ios17' holds one function",
                "step: target 'ios17' has no Core ML state",
            ],
        ),
        (
            "lstm",
            {},
            ["--target", "ios16", "--flexible", "9", "--no-streaming"],
            "main",
            ["predict_100, predict_500, predict_1000: target 'ios16' holds one function"],
        ),
    ],
)
def test_what_does_not_fit_is_left_out_and_told(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    sizes: dict[str, Any],
    options: list[str],
    functions: str,
    left_out: list[str],
) -> None:
    package = tmp_path / "m.mlpackage"
    saved = trained(name, tmp_path, **sizes)
    assert main(["export", str(saved), "--output", str(package), *options]) == 0
    first, *notes = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{package}: {functions}; float16, ")
    assert notes == [f"left out {note}" for note in left_out]
    assert lf.verify_coreml(package, lf.load_model(saved), contexts=1).passed


def test_an_older_target_gets_the_length_that_the_run_was_trained_with(tmp_path: Path) -> None:
    saved = trained("lstm", tmp_path)
    (saved / "recipe.yaml").write_text(lf.Recipe(data="sample", context_length=7).to_yaml())
    package = tmp_path / "m.mlpackage"
    assert main(["export", str(saved), "--output", str(package), "--target", "ios17"]) == 0
    assert SavedProgram(package).input_shapes("main") == {"context": (1, 7, 16)}


def test_the_author_may_be_given(saved: Path, tmp_path: Path) -> None:
    package = tmp_path / "m.mlpackage"
    assert main(["export", str(saved), "--output", str(package), "--contexts", "3", "--author", "Someone"]) == 0
    assert SavedProgram(package).spec.description.metadata.author == "Someone"


def test_a_folder_that_may_not_be_written_is_named_before_any_work(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *mode: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("lvm_fast.export.coreml.check_weights", lambda *model: pytest.fail("worked before it looked"))
    place = tmp_path / "m.mlpackage"
    assert main(["export", str(saved), "--output", str(place), "--contexts", "3"]) == 2
    error = capsys.readouterr().err
    assert f"cannot save: Permission denied: '{place}'" in error
    assert error.count("\n") == 1


def test_a_place_that_cannot_be_written_is_an_error(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    for place in (tmp_path / "nowhere" / "m.mlpackage", tmp_path / "file" / "m.mlpackage"):
        assert main(["export", str(saved), "--output", str(place), "--contexts", "3"]) == 2
        error = capsys.readouterr().err
        assert "cannot save: there is no such folder" in error
        assert str(place) in error
        assert error.count("\n") == 1


def test_weights_that_are_no_numbers_are_an_error(
    model: LatentVectorModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.get_parameter("fusion.0.bias").data[2] = float("nan")
    model.save_pretrained(tmp_path / "saved")
    assert main(["export", str(tmp_path / "saved"), "--output", str(tmp_path / "m.mlpackage"), "--contexts", "3"]) == 2
    assert "fusion.0.bias of the model holds NaN or Inf" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_a_context_beyond_the_positions_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = {"input_dim": 16, "hidden_dim": 12, "num_heads": 2, "feedforward_dim": 8, "max_positions": 20}
    lf.create_model("transformer", **sizes).save_pretrained(tmp_path / "saved")
    assert main(["export", str(tmp_path / "saved"), "--output", str(tmp_path / "m.mlpackage"), "--contexts", "21"]) == 2
    assert "a context of 21 vectors; expected at most 20, the model's positions" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_an_existing_package_is_an_error(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "m.mlpackage").mkdir()
    assert main(["export", str(saved), "--output", str(tmp_path / "m.mlpackage"), "--contexts", "3"]) == 2
    assert "pass overwrite=True (--overwrite) to replace it" in capsys.readouterr().err


def test_what_is_no_package_is_an_error(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path / "nothing"), "--checkpoint", str(saved)]) == 2
    assert main(["verify", str(saved), "--checkpoint", str(saved)]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "no Core ML package at" in errors[0]
    assert "not a readable ML program package" in errors[1]


def test_an_untrained_model_is_one_line_of_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lf.create_model("memory_gru", input_dim=16, hidden_dim=12, memory_slots=8).save_pretrained(tmp_path / "saved")
    assert main(["export", str(tmp_path / "saved"), "--output", str(tmp_path / "m.mlpackage"), "--contexts", "3"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("lvm-fast: warning: export_coreml: the model looks untrained")
    assert error.count("\n") == 1

"""Packages with compressed weights: what they hold, and what `verify_coreml` makes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.export import compression as compression_module
from lvm_fast.export.compression import Palettized, Quantized, Stored
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")


from lvm_fast.export.mil import layers  # noqa: E402
from lvm_fast.export.mil.interpreter import SavedProgram  # noqa: E402


def size_of(package: Path) -> int:
    return (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size


def test_every_matrix_is_compressed_and_nothing_else(compressed: Path, compression: str) -> None:
    kind = Quantized if compression == "int8" else Palettized
    saved = SavedProgram(compressed)
    for function in saved.functions:
        weights = saved.weights(function)
        assert {name for name, stored in weights.items() if isinstance(stored, kind)} == {
            *(f"gru_weight_{part}_l{layer}" for part in ("ih", "hh") for layer in range(4)),
            "memory_query_proj_weight",
            "memory_rows",
            "fusion_0_weight",
            "output_proj_0_weight",
            "output_proj_3_weight",
        }
        assert all(stored.dtype == np.float16 for stored in weights.values()), (
            "scales, palettes and plain constants are in the precision"
        )


def test_bits_are_what_was_asked(compressed: Path, compression: str) -> None:
    bits = {"int8": 8, "palette6": 6, "palette4": 4}[compression]
    weights = SavedProgram(compressed).weights("step")
    assert all(stored.bits == bits for stored in weights.values() if isinstance(stored, Palettized))


def test_compressed_weights_are_stored_once_for_all_functions(
    compressed: Path, compression: str, wide_model: LatentVectorModel, tmp_path: Path
) -> None:
    one = lf.export_coreml(wide_model, tmp_path / "m.mlpackage", contexts=(3,), streaming=False, compress=compression)
    assert size_of(compressed) == size_of(one)


def test_compressed_programs_verify(compressed: Path, wide_model: LatentVectorModel) -> None:
    verification = lf.verify_coreml(compressed, wide_model)
    assert verification.passed, verification.to_text()
    for check in verification.functions:
        assert check.program_error < check.tolerance < check.max_abs_error
        assert 0.9 < check.min_cosine < 0.999999
    assert "with its compressed weights" in verification.to_text()


def test_float32_may_be_compressed_too(wide_model: LatentVectorModel, tmp_path: Path) -> None:
    path = tmp_path / "m.mlpackage"
    package = lf.export_coreml(wide_model, path, contexts=(3,), precision="float32", compress="palette4")
    predict, step = lf.verify_coreml(package, wide_model).functions
    assert predict.passed
    assert step.passed
    assert predict.program_error < 1e-5


@pytest.mark.parametrize("compress", ["int8", "palette4"])
def test_a_model_of_another_size_differs(
    wide_model: LatentVectorModel, tmp_path: Path, small_model: Any, compress: str
) -> None:
    package = lf.export_coreml(wide_model, tmp_path / "m.mlpackage", contexts=(3,), compress=compress)
    for sizes in ({"hidden_dim": 40}, {"memory_slots": 128}, {"num_layers": 3}):
        verification = lf.verify_coreml(package, small_model(**{**wide_model.config, **sizes}))
        assert not any(check.passed for check in verification.functions)
        assert all(check.wrong_weights for check in verification.functions)
    assert (
        "memory_rows is float16 (64, 64); expected float16 (128, 64)"
        in lf.verify_coreml(package, small_model(**{**wide_model.config, "memory_slots": 128})).to_text()
    )


def test_numbers_that_overflow_when_they_are_made_whole_are_caught(
    wide_model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide_model.get_parameter("output_proj.3.weight").data[0, 0] = 65504.0  # the largest float16
    wide_model.get_parameter("output_proj.0.bias").data[0] = -50.0  # so that gelu makes 0 of what it is multiplied with
    right = lf.export_coreml(wide_model, tmp_path / "right.mlpackage", contexts=(3,), compress="int8")
    checks = lf.verify_coreml(right, wide_model).functions
    assert not any(check.wrong_weights or np.isnan(check.max_abs_error) for check in checks)

    def too_large(matrix: Any, dtype: np.dtype[Any]) -> Any:
        return (np.abs(matrix).max(axis=-1, keepdims=True) / 127).astype(dtype)  # 516: 127 times that is infinite

    monkeypatch.setattr(compression_module, "_scales", too_large)
    wrong = lf.export_coreml(wide_model, tmp_path / "wrong.mlpackage", contexts=(3,), compress="int8")
    for check in lf.verify_coreml(wrong, wide_model).functions:
        assert not check.passed
        assert check.program_error < check.tolerance
        assert np.isnan(check.min_cosine)
        assert check.wrong_weights == ("output_proj_3_weight has 1 of 6,144 numbers that are infinite in float16",)


def test_a_compression_that_costs_too_much_is_caught(
    wide_model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quantized, "fault", lambda stored, exact: None)
    package = lf.export_coreml(wide_model, tmp_path / "m.mlpackage", contexts=(3,), compress="int8")
    assert lf.verify_coreml(package, wide_model).passed
    compress: Callable[..., Stored] = layers.compress
    monkeypatch.setattr(layers, "compress", lambda matrix, *how: coarser(compress(matrix, *how)))
    package = lf.export_coreml(wide_model, tmp_path / "coarse.mlpackage", contexts=(3,), compress="int8")
    for check in lf.verify_coreml(package, wide_model).functions:
        assert not check.passed
        assert check.program_error < check.tolerance
        assert not check.wrong_weights
        assert check.min_cosine < check.least_cosine == 0.999


def coarser(stored: Stored) -> Stored:
    """4 bits in the place of 8."""
    return replace(stored, data=stored.data // 16 * 16) if isinstance(stored, Quantized) else stored


def test_a_compressed_bank_leaves_the_checks_of_plain_weights_alone(
    wide_model: LatentVectorModel, tmp_path: Path
) -> None:
    bank = np.random.default_rng(0).standard_normal((100, 64)).astype(np.float32)
    package = lf.export_coreml(wide_model, tmp_path / "m.mlpackage", contexts=(3,), bank=bank, bank_dtype="int8")
    predict, step, _ = lf.verify_coreml(package, wide_model).functions
    assert predict.program_error == predict.max_abs_error
    assert step.program_error == step.max_abs_error


def spoil(stored: Stored) -> Stored:
    """One number of a matrix a step off."""
    if isinstance(stored, Quantized):
        data = stored.data.copy()
        data[3, 4] -= np.sign(data[3, 4])
        return replace(stored, data=data)
    assert isinstance(stored, Palettized)
    indices = stored.indices.copy()
    indices[3, 4] ^= 1
    return replace(stored, indices=indices)


def test_one_compressed_number_a_step_off_is_caught(
    compression: str, wide_model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress: Callable[..., Stored] = layers.compress
    exact = wide_model.get_parameter("gru.weight_hh_l2").detach().numpy()

    def compress_wrongly(matrix: Any, *how: Any) -> Stored:
        stored = compress(matrix, *how)
        return spoil(stored) if np.array_equal(matrix, exact) else stored

    monkeypatch.setattr(layers, "compress", compress_wrongly)
    package = lf.export_coreml(wide_model, tmp_path / "m.mlpackage", contexts=(3,), compress=compression)
    for check in lf.verify_coreml(package, wide_model).functions:
        assert not check.passed
        assert check.program_error < check.tolerance  # nothing but the weight is wrong
        (sentence,) = check.wrong_weights
        assert sentence.startswith("gru_weight_hh_l2 has 1 of 6,912 numbers that are not the nearest")


def test_the_weights_of_another_model_are_caught(compressed: Path, wide_model: LatentVectorModel) -> None:
    wide_model.get_parameter("output_proj.3.weight").data.neg_()
    for check in lf.verify_coreml(compressed, wide_model).functions:
        assert not check.passed
        assert check.program_error < check.tolerance < check.max_abs_error
        assert [sentence.split()[0] for sentence in check.wrong_weights] == ["output_proj_3_weight"]

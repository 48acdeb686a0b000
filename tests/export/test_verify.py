"""`verify_coreml` accepts what `export_coreml` writes, and nothing that was changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lvm_fast as lf
from lvm_fast.export import probe_inputs
from lvm_fast.export.agreement import largest_error
from lvm_fast.export.probe_inputs import ProbeOutputs, sample_rows
from lvm_fast.export.verification_result import FunctionCheck, Verification
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import mb  # noqa: E402
from lvm_fast.export.mil import program, recurrent  # noqa: E402

Tensors = dict[str, torch.Tensor]
Changed = Callable[[Callable[[Tensors], Any]], LatentVectorModel]
UNUSED = "memory.write_gate."  # only training uses it, so no package holds it


def swap_gates(tensors: Tensors) -> None:
    """Reset and update change places in every layer."""
    for name, tensor in tensors.items():
        if name.startswith("gru."):
            reset, update, candidate = tensor.clone().chunk(3)
            tensor.copy_(torch.cat((update, reset, candidate)))


def flip_output_sign(tensors: Tensors) -> None:
    for name, tensor in tensors.items():
        if name.startswith("output_proj.3."):
            tensor.neg_()


def swap_layers(tensors: Tensors) -> None:
    second, third = tensors["gru.weight_hh_l1"], tensors["gru.weight_hh_l2"]
    before = second.clone()
    second.copy_(third)
    third.copy_(before)


def test_a_faithful_package_passes(package: Path, model: LatentVectorModel) -> None:
    verification = lf.verify_coreml(package, model)
    assert verification.passed
    assert [(check.name, check.predictions) for check in verification.functions] == [
        ("predict_3", 2),
        ("predict_5", 2),
        ("step", 32),
    ]


def test_float32_packages_agree_to_float32(package: Path, precision: str, model: LatentVectorModel) -> None:
    predicts = lf.verify_coreml(package, model).functions[:2]
    bound = 1e-6 if precision == "float32" else 5e-3
    assert all(check.max_abs_error <= bound and check.min_cosine > 1 - bound for check in predicts)


def test_raw_deltas_are_exported_as_they_are(small_model: Callable[..., LatentVectorModel], tmp_path: Path) -> None:
    model = small_model(normalize_delta=False)
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), precision="float32")
    assert lf.verify_coreml(package, model).passed
    assert not lf.verify_coreml(package, small_model()).passed


def test_a_tiny_raw_delta_still_makes_a_unit_delta(changed: Changed, tmp_path: Path) -> None:
    def shrink(tensors: Tensors) -> None:
        for name in ("output_proj.3.weight", "output_proj.3.bias"):
            tensors[name].mul_(1e-7)

    model = changed(shrink)
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), precision="float32")
    assert lf.verify_coreml(package, model).passed


@pytest.mark.parametrize("layers", [1, 2])
def test_any_number_of_layers_exports(
    small_model: Callable[..., LatentVectorModel], tmp_path: Path, layers: int
) -> None:
    model = small_model(num_layers=layers)
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(4,), precision="float32")
    assert lf.verify_coreml(package, model).passed


def test_the_sample_serves_models_of_its_width(small_model: Callable[..., LatentVectorModel], tmp_path: Path) -> None:
    model = small_model(input_dim=768, hidden_dim=8)
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(7,))
    assert lf.verify_coreml(package, model).passed


def test_without_the_sample_random_vectors_serve_every_width(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = sample_rows(768)
    np.testing.assert_array_equal(whole, np.asarray(lf.sample().vectors, np.float32))
    monkeypatch.setattr(probe_inputs, "sample_path", lambda: None)
    rows = sample_rows(768)
    assert rows.shape == (1024, 768)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_own_vectors_may_be_fewer_than_a_context(package: Path, model: LatentVectorModel) -> None:
    vectors = np.eye(2, 16, dtype=np.float32)
    verification = lf.verify_coreml(package, model, vectors, contexts=1)
    assert verification.passed
    assert verification.functions[0].predictions == 1


def test_the_model_keeps_its_mode(package: Path, model: LatentVectorModel) -> None:
    model.train()
    memory = model.get_buffer("memory.memory").clone()
    assert lf.verify_coreml(package, model).passed
    assert model.training
    assert torch.equal(model.get_buffer("memory.memory"), memory)


@pytest.mark.parametrize("change", [swap_gates, flip_output_sign, swap_layers])
def test_wrong_weights_show_in_outputs_and_weights(package: Path, changed: Changed, change: Any) -> None:
    for check in lf.verify_coreml(package, changed(change)).functions:
        assert not check.passed
        assert check.max_abs_error > 5 * check.tolerance
        assert check.wrong_weights


def tensor_names() -> list[str]:
    model = lf.create_model("memory_gru", input_dim=16, hidden_dim=12, memory_slots=8)
    return [name for name in model.state_dict() if not name.startswith(UNUSED)]


@settings(deadline=None, derandomize=True, max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(tensor_names()), data=st.data())
def test_one_changed_number_in_any_tensor_is_caught(
    package: Path, changed: Changed, name: str, data: st.DataObject
) -> None:
    def change(tensors: Tensors) -> None:
        numbers = tensors[name].view(-1)
        numbers[data.draw(st.integers(0, numbers.numel() - 1))] += 1.0

    verification = lf.verify_coreml(package, changed(change), contexts=1)
    assert all(check.wrong_weights and not check.passed for check in verification.functions)


def test_a_wrong_weight_is_named_and_counted(package: Path, changed: Changed) -> None:
    model = changed(lambda tensors: tensors["gru.weight_hh_l2"][5, 7].add_(0.5))
    for check in lf.verify_coreml(package, model).functions:
        assert check.wrong_weights == ("gru_weight_hh_l2 differs in 1 of 432 numbers",)


def test_what_no_package_holds_does_not_matter(package: Path, changed: Changed) -> None:
    assert lf.verify_coreml(package, changed(lambda tensors: tensors["memory.write_gate.weight"].add_(1.0))).passed


def wrong_cell(mistake: str) -> Callable[[Any, Any, Any], Any]:
    """A GRU cell with one mistake in it."""

    def cell(gates: Any, recurrent: Any, state: Any) -> Any:
        sizes = [2 * state.shape[-1], state.shape[-1]]
        input_rz, input_n = mb.split(x=gates, split_sizes=sizes, axis=-1)
        hidden_rz, hidden_n = mb.split(x=recurrent, split_sizes=sizes, axis=-1)
        reset, update = mb.split(x=mb.sigmoid(x=mb.add(x=input_rz, y=hidden_rz)), num_splits=2, axis=-1)
        if mistake == "gates swapped":
            reset, update = update, reset
        if mistake == "reset scales the input too":
            candidate = mb.tanh(x=mb.mul(x=reset, y=mb.add(x=input_n, y=hidden_n)))
        else:
            candidate = mb.tanh(x=mb.add(x=input_n, y=mb.mul(x=reset, y=hidden_n)))
        if mistake == "update inverted":
            state, candidate = candidate, state
        return mb.add(x=candidate, y=mb.mul(x=update, y=mb.sub(x=state, y=candidate)))

    return cell


def verified_export(model: LatentVectorModel, folder: Path) -> tuple[FunctionCheck, FunctionCheck]:
    """Export in float32 and verify, all weights being right; the checks of `predict_5` and `step`."""
    package = lf.export_coreml(model, folder / "m.mlpackage", contexts=(5,), precision="float32")
    predict, step = lf.verify_coreml(package, model).functions
    assert not predict.wrong_weights
    assert not step.wrong_weights
    return predict, step


def test_the_cell_without_a_mistake_passes(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recurrent, "_gru_cell", wrong_cell("none"))
    assert all(check.passed for check in verified_export(model, tmp_path))


@pytest.mark.parametrize("mistake", ["gates swapped", "reset scales the input too", "update inverted"])
def test_a_wrong_cell_shows_though_every_weight_is_right(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str
) -> None:
    monkeypatch.setattr(recurrent, "_gru_cell", wrong_cell(mistake))
    assert all(check.max_abs_error > 5 * check.tolerance for check in verified_export(model, tmp_path))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("norm", lambda x: mb.reduce_l2_norm(x=mb.mul(x=x, y=np.float32(1.1)), axes=[-1], keep_dims=True)),
        ("unit", lambda x: x),
    ],
)
def test_a_wrong_normalisation_shows(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, wrong: Any
) -> None:
    monkeypatch.setattr(program, name, wrong)
    assert all(check.max_abs_error > 5 * check.tolerance for check in verified_export(model, tmp_path))


def test_outputs_that_are_no_numbers_are_no_agreement(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "unit", lambda x: mb.real_div(x=mb.sub(x=x, y=x), y=mb.sub(x=x, y=x)))
    for check in verified_export(model, tmp_path):
        assert np.isnan(check.max_abs_error)
        assert not check.passed


@pytest.mark.parametrize("part", ["next_vector", "delta"])
def test_one_output_that_is_no_number_is_enough(part: str) -> None:
    right = ProbeOutputs(np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32))
    wrong = right._replace(**{part: np.full((2, 3), np.nan, np.float32)})
    assert np.isnan(largest_error(wrong, right))


def test_a_loop_that_ends_early_shows(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = recurrent.scan

    def short(rows: Any, *rest: Any) -> Any:
        return scan(mb.slice_by_index(x=rows, begin=[0, 0, 0], end=[1, rows.shape[1] - 1, rows.shape[2]]), *rest)

    monkeypatch.setattr(recurrent, "scan", short)
    predict, step = verified_export(model, tmp_path)
    assert predict.max_abs_error > 5 * predict.tolerance
    assert step.passed


def test_a_forgotten_state_shows(model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mb, "coreml_update_state", lambda state, value: value)
    predict, step = verified_export(model, tmp_path)
    assert predict.passed
    assert step.max_abs_error > 5 * step.tolerance


def test_not_a_number_is_no_agreement() -> None:
    good = FunctionCheck("predict_3", 1, 0.001, 1.0, 0.99, 1.0, 1, 0.001, 1.0, ())
    assert good.passed
    for name in ("max_abs_error", "min_cosine", "program_error"):
        check = replace(good, **{name: float("nan")})
        assert not check.passed, name
        assert not Verification((check,)).passed


def test_long_lists_of_wrong_weights_are_cut_in_text_only() -> None:
    wrong = tuple(f"weight_{index} is missing" for index in range(13))
    check = FunctionCheck("predict_3", 1, 0.001, 1.0, 0.99, 1.0, 1, 0.001, 1.0, wrong)
    _, _, *named, last = check.to_text().splitlines()
    assert [line.strip() for line in named] == list(wrong[:10])
    assert last.strip() == "and 3 more"
    assert check.wrong_weights == wrong


def test_findings_read_as_text_and_as_json(package: Path, changed: Changed) -> None:
    good = lf.verify_coreml(package, changed(lambda tensors: None))
    bad = lf.verify_coreml(package, changed(lambda tensors: tensors["fusion.0.bias"].neg_()))
    assert good.to_text().count("equal") == 3
    assert bad.to_text().count("DIFFERENT") == 3
    assert "fusion_0_bias differs in 12 of 12 numbers" in bad.to_text()
    assert json.loads(json.dumps(bad.to_dict()))["passed"] is False


def test_models_of_another_width_are_refused(package: Path, small_model: Callable[..., LatentVectorModel]) -> None:
    with pytest.raises(ValueError, match="memory_gru of width 16; the model is a memory_gru of width 24"):
        lf.verify_coreml(package, small_model(input_dim=24))


def test_models_of_another_depth_differ(package: Path, small_model: Callable[..., LatentVectorModel]) -> None:
    verification = lf.verify_coreml(package, small_model(num_layers=3))
    assert not verification.passed
    assert "gru_weight_ih_l3 is no constant of the model" in verification.to_text()
    assert "gru_weight_ih_l4 is missing" in lf.verify_coreml(package, small_model(num_layers=5)).to_text()
    assert "expected float" in lf.verify_coreml(package, small_model(hidden_dim=13)).to_text()

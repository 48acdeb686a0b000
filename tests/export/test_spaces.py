"""Models with a space as Core ML packages: what they answer, what their banks hold, and what of them is caught."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")


from lvm_fast.export.compression import Quantized
from lvm_fast.export.device import check_function
from lvm_fast.export.expectations import read_expectations
from lvm_fast.export.mil import space
from lvm_fast.export.mil.interpreter import SavedProgram
from lvm_fast.export.mil.layers import unit
from lvm_fast.export.package.package import read_description
from lvm_fast.export.verification_result import RetrievalCheck
from lvm_fast.spaces.space import fit_space

from .test_device import Device
from .test_model_types import SPACED, WIDE, crowded, exported, model_of

Array = np.ndarray[Any, np.dtype[np.float32]]


def plainly(model: LatentVectorModel, folder: Path, precision: str = "float32", **options: Any) -> Path:
    return exported(model, folder, precision, **{"contexts": (6,), "flexible": None, "streaming": False, **options})


def context_of(dim: int = 16) -> Array:
    return crowded(dim)[None, 20:26]


@pytest.mark.parametrize("name", SPACED)
def test_outputs_are_predict_query_and_the_step_in_the_space(name: str, tmp_path: Path) -> None:
    model, context = model_of(name), context_of()
    found = SavedProgram(plainly(model, tmp_path)).run("predict_6", {"context": context})
    assert list(found) == ["next_vector", "delta", "query"]
    np.testing.assert_allclose(found["next_vector"], model.predict(context), atol=1e-6)
    np.testing.assert_allclose(found["query"], model.query(context), atol=1e-6)
    assert model.space is not None
    with torch.no_grad():
        delta = model(model.space(torch.from_numpy(context))).numpy()
    np.testing.assert_allclose(found["delta"], delta, atol=2e-6)


@pytest.mark.parametrize("name", SPACED)
def test_step_answers_in_the_space_as_a_stream_does(name: str, tmp_path: Path) -> None:
    model = model_of(name)
    saved, stream = SavedProgram(plainly(model, tmp_path, streaming=True)), model.stream()
    state = saved.new_state("step")
    for length, vector in enumerate(context_of()[0], start=1):
        found = saved.run("step", {"vector": vector[None]}, state)
        np.testing.assert_allclose(found["next_vector"][0], stream.push(vector[None])[0], atol=2e-3)
        np.testing.assert_allclose(found["query"], model.query(context_of()[:, :length]), atol=2e-3)


@pytest.mark.parametrize("name", ["gru", "whitened_recency", "recency_residual"])
def test_models_without_a_space_have_no_query(name: str, tmp_path: Path) -> None:
    saved = SavedProgram(plainly(model_of(name), tmp_path, streaming=True))
    assert [saved.output_names(function) for function in saved.functions] == [["next_vector", "delta"]] * 2


def test_the_mean_of_the_space_is_a_zero_row_there(tmp_path: Path) -> None:
    model = model_of("whitened_recency whitened")
    mean = pointed(model)
    found = SavedProgram(plainly(model, tmp_path, contexts=(1,))).run("predict_1", {"context": mean[None, None]})
    np.testing.assert_array_equal(found["query"], np.zeros((1, 16), np.float32))
    np.testing.assert_allclose(found["next_vector"], model.predict(mean[None, None]), atol=1e-7)


def pointed(model: LatentVectorModel) -> Array:
    """Make the mean of a model's space a unit vector, which a vector can then equal."""
    assert model.space is not None
    model.space.mean.copy_(torch.eye(16)[2])
    mean: Array = model.space.mean.numpy().copy()
    return mean


@pytest.mark.parametrize("length", [1e-4, 1.0, 1e6])
def test_vectors_of_any_length_are_mapped_in_float16(length: float, tmp_path: Path) -> None:
    model = model_of("whitened_recency whitened")
    context = context_of() * np.float32(length)
    found = SavedProgram(plainly(model, tmp_path, "float16")).run("predict_6", {"context": context})
    np.testing.assert_allclose(found["query"], model.query(context), atol=3e-3)


def test_a_mean_close_to_all_vectors_keeps_its_digits_in_float16(tmp_path: Path) -> None:
    tight = lf.l2_normalize(crowded(16) + np.float32(300.0))  # within a thousandth of one direction
    model = model_of("whitened_recency whitened")
    model.set_space(fit_space(tight))
    package = plainly(model, tmp_path, "float16", streaming=True)
    verification = lf.verify_coreml(package, model, tight)
    assert verification.passed, verification.to_text()
    assert SavedProgram(package).weights("step")["space_mean"].dtype == np.float32


def test_the_way_back_is_one_matrix_and_only_where_keys_are_adapted(tmp_path: Path) -> None:
    residual = model_of("recency_residual whitened")
    names = set(SavedProgram(plainly(residual, tmp_path)).weights("predict_6"))
    ways = {f"space_{way}_{part}" for way in ("into", "back") for part in ("matrix", "diagonal")}
    ways |= {"space_mean", "space_spread", "space_usual"}
    assert names == {*ways, "decays", "mix", "query_down_weight", "query_up_weight", "query_up_bias"}
    residual.key_up.weight.data.zero_()
    for model in (residual, model_of("gru whitened")):
        held = SavedProgram(plainly(model, tmp_path)).weights("predict_6")
        assert {name for name in held if name.startswith("space")} == {*ways} - {
            "space_back_matrix",
            "space_back_diagonal",
        }


@pytest.mark.parametrize("compress", ["int8", "palette6", "palette4"])
@pytest.mark.parametrize("name", ["gru whitened", "recency_residual whitened"])
def test_every_compression_verifies_and_leaves_the_space_int8(name: str, compress: str, tmp_path: Path) -> None:
    model = model_of(name, 64, **WIDE[name.split()[0]])
    package = plainly(model, tmp_path, "float16", streaming=True, compress=compress)
    verification = lf.verify_coreml(package, model)
    assert verification.passed, verification.to_text()
    assert isinstance(SavedProgram(package).weights("step")["space_into_matrix"], Quantized)


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize(
    ("tensor", "place", "constant"),
    [
        ("space.mean", 3, "space_mean differs in 1 of 16 numbers"),
        ("space.matrix", (2, 2), "space_into_diagonal differs in 1 of 16 numbers"),
        ("space.matrix", (2, 5), "space_into_matrix differs in 1 of 256 numbers"),
        ("key_down.weight", (1, 5), "space_back_matrix differs"),
        ("key_up.weight", (5, 1), "space_back_matrix differs"),
    ],
)
def test_a_changed_number_of_the_space_is_caught(
    tensor: str, place: Any, constant: str, precision: str, tmp_path: Path
) -> None:
    model = model_of("recency_residual whitened")
    package = plainly(model, tmp_path, precision)
    model.state_dict()[tensor][place] += 0.05
    (check,) = lf.verify_coreml(package, model).functions
    assert not check.passed
    assert any(wrong.startswith(constant) for wrong in check.wrong_weights), check.wrong_weights


@pytest.mark.parametrize(
    ("held", "given", "message"),
    [
        ("gru centred", "gru", "holds a model in the space centred; the model's is raw"),
        ("gru", "gru whitened", "holds a model in the space raw; the model's is whitened"),
        ("gru centred", "gru whitened", "holds a model in the space centred; the model's is whitened"),
    ],
)
def test_another_kind_of_space_is_refused(held: str, given: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"verify_coreml: .*{message}"):
        lf.verify_coreml(plainly(model_of(held), tmp_path), model_of(given))


MISTAKES: dict[str, tuple[str, Callable[..., Any]]] = {
    "no matrix": ("_product", lambda layers, rows, name: rows),
    "no mean": ("into", lambda layers, vectors: unit(layers._product(vectors, "space.into"))),
    "no way back": ("back", lambda layers, query: query),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_maps_shows(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, replacement = MISTAKES[mistake]
    monkeypatch.setattr(space.SpaceLayers, attribute, replacement)
    model = model_of("recency_residual whitened")
    (check,) = lf.verify_coreml(plainly(model, tmp_path), model).functions
    assert not check.passed
    assert check.max_abs_error > 5 * check.tolerance


@pytest.mark.parametrize("name", [*SPACED, "recency_residual"])
@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_topk_takes_the_query_and_searches_the_keys(name: str, precision: str, tmp_path: Path) -> None:
    model, bank = model_of(name), crowded(16)
    saved = SavedProgram(plainly(model, tmp_path, precision, bank=bank, bank_dtype="float16", topk=5))
    predicted = saved.run("predict_6", {"context": context_of()})
    found = saved.run("topk", {"query": predicted["next_vector" if model.space is None else "query"]})
    scores, ids = model.bank(bank).topk(model.query(context_of()), 5)
    np.testing.assert_allclose(found["scores"], scores, atol=2e-3)
    assert found["ids"][0, 0] == ids[0, 0]
    plain, _ = lf.VectorBank(bank).topk(model.predict(context_of()), 5)
    assert np.abs(found["scores"] - plain).max() > 0.01  # it is not the search among the vectors themselves


def test_a_bank_of_other_keys_is_caught(tmp_path: Path) -> None:
    model, bank = model_of("recency_residual whitened"), crowded(16)
    package = plainly(model, tmp_path, bank=bank, topk=5)
    for given in (None, bank):
        check = lf.verify_coreml(package, model, bank=given).functions[-1]
        assert isinstance(check, RetrievalCheck)
        assert check.passed
    model.state_dict()["key_up.weight"][0, 0] += 0.5
    assert lf.verify_coreml(package, model, bank=bank).functions[-1].wrong_weights


def test_a_row_at_the_mean_has_no_key(tmp_path: Path) -> None:
    model, bank = model_of("gru centred"), crowded(16)
    bank[7] = pointed(model)
    with pytest.raises(ValueError, match="export_coreml: bank: row 7 is zero among the model's keys; expected a dir"):
        plainly(model, tmp_path, bank=bank)
    assert not list(tmp_path.iterdir())


def test_a_space_that_is_not_a_number_or_beyond_float16_is_refused(tmp_path: Path) -> None:
    model = model_of("gru whitened")
    assert model.space is not None
    assert model.space.matrix is not None
    model.space.matrix[1, 2] = 1e6
    with pytest.raises(ValueError, match=r"space\.into\.matrix holds 1e\+06; expected at most the largest float16"):
        plainly(model, tmp_path, "float16")
    model.space.mean[2] = float("nan")
    with pytest.raises(ValueError, match=r"export_coreml: space\.mean of the model holds NaN or Inf"):
        plainly(model, tmp_path)
    assert not list(tmp_path.iterdir())


def test_every_arm_maps_in_its_own_space(tmp_path: Path) -> None:
    router = lf.Router({4: model_of("gru centred"), 9: model_of("recency_residual whitened"), 20: model_of("lstm")})
    package = lf.export_coreml(router, tmp_path / "r.mlpackage", streaming=False, precision="float32")
    verification = lf.verify_coreml(package, router)
    assert verification.passed, verification.to_text()
    saved, context = SavedProgram(package), crowded(16)[None, :9]
    assert [len(saved.output_names(name)) for name in ("predict_4", "predict_9", "predict_20")] == [3, 3, 2]
    found = saved.run("predict_9", {"context": context})
    np.testing.assert_allclose(found["next_vector"], router.predict(context), atol=1e-6)
    for place, function in ((4, 0), (9, 1)):
        changed = lf.Router({4: model_of("gru centred"), 9: model_of("recency_residual whitened"), 20: router.arms[20]})
        changed.arms[place].state_dict()["space.mean"][0] += 0.01
        checks = lf.verify_coreml(package, changed).functions
        assert [check.passed for check in checks] == [index != function for index in range(3)]
    other = lf.Router({4: router.arms[4], 9: model_of("recency_residual"), 20: router.arms[20]})
    with pytest.raises(ValueError, match="in the space centred, whitened, raw; the model's is centred, raw, raw"):
        lf.verify_coreml(package, other)


def test_a_routers_bank_needs_one_space(tmp_path: Path) -> None:
    bank, gru = crowded(16), model_of("gru centred")
    options = {"streaming": False, "bank": bank, "topk": 4}
    for other in ("gru", "memory_gru whitened"):
        with pytest.raises(ValueError, match="bank: the router's arms search in different spaces; export an arm with"):
            lf.export_coreml(lf.Router({4: gru, 9: model_of(other)}), tmp_path / "r.mlpackage", **options)
    assert not list(tmp_path.iterdir())
    router = lf.Router({4: gru, 9: model_of("lstm centred")})
    assert lf.verify_coreml(lf.export_coreml(router, tmp_path / "r.mlpackage", **options), router, bank=bank).passed


def test_the_description_says_which_vector_is_which(tmp_path: Path) -> None:
    package = plainly(model_of("gru centred"), tmp_path, bank=crowded(16))
    about = read_description(package)
    predict, topk = about.functions
    words = {feature.name: feature.shortDescription for feature in (*predict.output, *topk.input)}
    words |= {feature.name + "_out": feature.shortDescription for feature in predict.output}
    assert words["next_vector"].startswith("The predicted embedding of the next chunk: query, mapped back out of the")
    assert words["delta"].startswith("The predicted step from the last vector to the next one in the model's centred")
    assert words["query_out"].startswith("What to search the bank with")
    assert words["query"].startswith("What to look for: the query of a prediction, a unit vector in the centred space")
    config = json.loads(about.metadata.userDefined["lvm_fast.config"])
    assert config["space"] == {"kind": "centred", "strength": 0.0, "rows": 200}


def test_devices_are_compared_by_the_query_too(tmp_path: Path) -> None:
    bank = crowded(16)
    package = plainly(model_of("gru whitened"), tmp_path, "float16", streaming=True, bank=bank, topk=4)
    functions, about = read_expectations(package)
    assert {name: set(parts) for name, parts in functions.items()} == {
        "predict_6": {"context", "next_vector", "delta", "query"},
        "step": {"vector", "next_vector", "delta", "query"},
        "topk": {"query", "scores", "ids"},
    }
    first = functions["step"]["vector"][:1]
    np.testing.assert_allclose(functions["step"]["query"][:1], model_of("gru whitened").query(first[None]), atol=1e-6)
    np.testing.assert_array_equal(functions["topk"]["query"], functions["step"]["query"])
    rows = [check_function(Device(package, name), name, "ALL", parts, 1, about) for name, parts in functions.items()]
    assert all(row.passed for row in rows)
    for name in ("predict_6", "step"):
        parts = {**functions[name], "query": -functions[name]["query"]}
        assert check_function(Device(package, name), name, "ALL", parts, 1, about).min_cosine < -0.99


@pytest.mark.parametrize("name", [name for name in SPACED if "whitened" in name.split()[-1]])
def test_a_model_that_searches_the_encoders_vectors_asks_with_its_prediction(name: str, tmp_path: Path) -> None:
    model, rows, context = model_of(name), crowded(16), context_of()
    model.config["space"]["search"] = "vectors"
    package = plainly(model, tmp_path, streaming=True, bank=rows[:20], topk=3)
    found = SavedProgram(package).run("predict_6", {"context": context})
    np.testing.assert_array_equal(found["query"], found["next_vector"])
    np.testing.assert_allclose(found["next_vector"], model.predict(context), atol=1e-6)
    asked = SavedProgram(package).run("topk", {"query": found["query"]})
    expected = lf.VectorBank(rows[:20], normalize=True).topk(model.predict(context), 3)[1]
    np.testing.assert_array_equal(asked["ids"], expected)
    assert lf.verify_coreml(package, model, bank=rows[:20]).passed


@pytest.mark.parametrize("search", ["keys", "vectors"])
def test_a_model_that_corrects_for_hubness_asks_and_finds_with_the_correction(search: str, tmp_path: Path) -> None:
    model, rows, context = copy.deepcopy(model_of("recency_residual whitened")), crowded(16), context_of()
    model.config["space"]["search"] = search
    model.set_query_bank(crowded(16)[::-1][:9], 0.5, 4)
    package = plainly(model, tmp_path, streaming=True, bank=rows[:20], topk=3)
    found = SavedProgram(package).run("predict_6", {"context": context})
    np.testing.assert_allclose(found["query"], model.query(context), atol=1e-6)
    asked = SavedProgram(package).run("topk", {"query": found["query"]})
    scores, ids = model.bank(rows[:20]).topk(model.query(context), 3)
    np.testing.assert_array_equal(asked["ids"], ids)
    np.testing.assert_allclose(asked["scores"], scores, atol=1e-3)  # float16 rows
    assert lf.verify_coreml(package, model, bank=rows[:20]).passed
    model.set_query_bank(crowded(16)[:9], 0.5, 4)
    assert not lf.verify_coreml(package, model, bank=rows[:20]).passed

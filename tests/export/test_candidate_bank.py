"""A bank inside a package: what `topk` answers, and what of it is caught when it is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import mb  # noqa: E402
from lvm_fast.export.mil.interpreter import SavedProgram  # noqa: E402
from lvm_fast.export.verification_result import RetrievalCheck  # noqa: E402

Array = np.ndarray[Any, np.dtype[np.float32]]


@pytest.fixture(scope="module")
def bank() -> Array:
    """Candidates of all lengths."""
    rng = np.random.default_rng(9)
    return (rng.standard_normal((300, 16)) * rng.uniform(0.1, 9.0, (300, 1))).astype(np.float32)


def exported(model: LatentVectorModel, folder: Path, bank: Any, **options: Any) -> Path:
    options = {"contexts": (3,), "streaming": False, "topk": 7, **options}
    return lf.export_coreml(model, folder / "m.mlpackage", bank=bank, overwrite=True, **options)


def retrieval_check(package: Path, model: LatentVectorModel, bank: Any = None) -> RetrievalCheck:
    check = lf.verify_coreml(package, model, bank=bank).functions[-1]
    assert isinstance(check, RetrievalCheck)
    return check


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("bank_dtype", ["float16", "int8"])
def test_topk_finds_what_exact_retrieval_finds(
    model: LatentVectorModel, tmp_path: Path, bank: Array, precision: str, bank_dtype: str
) -> None:
    package = exported(model, tmp_path, bank, precision=precision, bank_dtype=bank_dtype)
    query = lf.l2_normalize(np.random.default_rng(1).standard_normal((1, 16)).astype(np.float32))
    scores, ids = lf.VectorBank(bank, normalize=True).topk(query, 7)
    found = SavedProgram(package).run("topk", {"query": query})
    assert found["ids"].dtype == np.int32
    assert found["ids"][0, 0] == ids[0, 0]
    assert len(set(found["ids"][0]) & set(ids[0])) >= 6  # rounding may swap close calls
    np.testing.assert_allclose(found["scores"], scores, atol=5e-3)
    for given in (None, bank):
        check = retrieval_check(package, model, given)
        assert check.passed
        assert (check.name, check.candidates, check.k, check.bank_compared) == ("topk", 300, 7, given is not None)
        assert check.agreement > 0.9


def test_predictions_of_the_package_go_straight_into_its_bank(
    model: LatentVectorModel, tmp_path: Path, bank: Array
) -> None:
    saved = SavedProgram(exported(model, tmp_path, bank))
    context = lf.l2_normalize(np.random.default_rng(1).standard_normal((1, 3, 16)).astype(np.float32))
    predicted = saved.run("predict_3", {"context": context})["next_vector"]
    best = saved.run("topk", {"query": predicted})["ids"][0, 0]
    assert best == (lf.l2_normalize(bank) @ model.predict(context)[0]).argmax()


@pytest.mark.parametrize("kind", ["store", "tensor", "float16"])
def test_banks_may_be_stores_tensors_and_half_precision(
    model: LatentVectorModel, tmp_path: Path, bank: Array, kind: str
) -> None:
    given = {
        "store": ChainStore(bank, np.array([0, 100, 300])),
        "tensor": torch.from_numpy(bank),
        "float16": bank.astype(np.float16),
    }[kind]
    assert retrieval_check(exported(model, tmp_path, given), model, given).passed


def test_metadata_describes_the_bank(model: LatentVectorModel, tmp_path: Path, bank: Array) -> None:
    package = exported(model, tmp_path, bank, bank_dtype="int8")
    description = SavedProgram(package).spec.description
    facts = json.loads(description.metadata.userDefined["lvm_fast.bank"])
    assert (facts["vectors"], facts["dtype"], facts["topk"]) == (300, "int8", 7)
    function = description.functions[-1]
    shapes = {
        feature.name: (list(feature.type.multiArrayType.shape), feature.shortDescription)
        for feature in (*function.input, *function.output)
    }
    assert {name: shape for name, (shape, _) in shapes.items()} == {"query": [1, 16], "scores": [1, 7], "ids": [1, 7]}
    assert shapes["ids"][1].endswith("Shape [1, 7], int32.")


def test_a_bank_alone_is_a_package_of_older_systems_too(model: LatentVectorModel, tmp_path: Path, bank: Array) -> None:
    package = exported(model, tmp_path, bank, contexts=(), target="ios16")
    assert retrieval_check(package, model, bank).passed


@pytest.mark.parametrize("bank_dtype", ["float16", "int8"])
def test_one_changed_number_of_a_row_is_caught_with_and_without_the_bank(
    model: LatentVectorModel, tmp_path: Path, bank: Array, bank_dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = exported(model, tmp_path, bank, bank_dtype=bank_dtype)
    other = bank.copy()
    other[123, 4] *= -1.0
    check = retrieval_check(package, model, other)
    assert not check.passed
    assert check.max_abs_error < check.tolerance  # searching its own rows it is right
    assert check.wrong_weights[0].startswith("bank.rows ")
    monkeypatch.setattr("lvm_fast.export.verify_topk.rows_digest", lambda rows: "another")
    assert retrieval_check(package, model).wrong_weights == ("bank.rows differs from what was exported",)


@pytest.mark.parametrize(
    "mistake",
    [
        lambda x, k, axis: mb.topk(x=mb.mul(x=x, y=np.float16(-1.0)), k=k, axis=axis),
        lambda x, k, axis: mb.topk(x=mb.concat(values=[x, x], axis=axis), k=k, axis=axis),
        lambda x, k, axis: (
            mb.mul(x=mb.topk(x=x, k=k, axis=axis)[0], y=np.float16("nan")),
            mb.topk(x=x, k=k, axis=axis)[1],
        ),
    ],
    ids=["farthest", "ids beyond the bank", "scores that are no numbers"],
)
def test_a_wrong_search_is_caught(
    model: LatentVectorModel, tmp_path: Path, bank: Array, mistake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wrong:
        def __getattr__(self, name: str) -> Any:
            return mistake if name == "topk" else getattr(mb, name)

    monkeypatch.setattr("lvm_fast.export.coremltools_compat.mb", Wrong())
    package = exported(model, tmp_path, bank)
    monkeypatch.undo()
    assert not retrieval_check(package, model, bank).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"topk": 0}, "topk: expected a whole number from 1 to 300, got 0"),
        ({"topk": 301}, "topk: expected a whole number from 1 to 300, got 301"),
        ({"bank_dtype": "int4"}, "unknown bank_dtype 'int4'; did you mean 'int8'. There are: float16, int8"),
        ({"bank": np.ones((4, 15), np.float32)}, "bank has 15 dimensions; expected 16, as the model has"),
        ({"bank": np.zeros((4, 16), np.float32)}, "zero"),
        ({"bank": np.full((4, 16), np.nan, np.float32)}, "NaN"),
        ({"bank": [1.0, 2.0]}, r"shape \(rows, D\), got \(2,\)"),
        ({"target": "ios17"}, "more than one function needs target 'ios18'"),
        ({"target": "ios17", "contexts": (), "bank_dtype": "int8"}, "bank_dtype = 'int8' needs target 'ios18'"),
    ],
)
def test_bad_banks_are_named(
    model: LatentVectorModel, tmp_path: Path, bank: Array, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        exported(model, tmp_path, **{"bank": bank, **options})
    assert not list(tmp_path.iterdir())


def test_a_package_without_a_bank_has_none_to_compare(package: Path, model: LatentVectorModel, bank: Array) -> None:
    with pytest.raises(ValueError, match="holds no bank to compare with"):
        lf.verify_coreml(package, model, bank=bank)


def test_the_commands_take_a_bank(
    model: LatentVectorModel, tmp_path: Path, bank: Array, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path / "saved")
    for name, rows in (("bank", bank), ("other", bank[::-1])):
        ChainStore.write(tmp_path / f"{name}.safetensors", rows, [0, 300])
    package, store = str(tmp_path / "m.mlpackage"), str(tmp_path / "bank.safetensors")
    options = ["--contexts", "3", "--bank", store, "--topk", "4", "--bank-dtype", "int8"]
    assert main(["export", str(tmp_path / "saved"), "--output", package, *options]) == 0
    assert "predict_3, step, topk; float16, " in capsys.readouterr().out
    verify = ["verify", package, "--checkpoint", str(tmp_path / "saved"), "--data", store]
    assert main(verify) == 0
    assert "rows compared with their digest only: no bank was given" in capsys.readouterr().out
    assert main([*verify, "--bank", store]) == 0
    assert "top-4 of 300 agrees" in capsys.readouterr().out
    assert main([*verify, "--bank", str(tmp_path / "other.safetensors")]) == 1

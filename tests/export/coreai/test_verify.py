"""What `verify_coreai` finds: that an asset is its model, and whatever is not as it was."""

from __future__ import annotations

import copy
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from coreai_models import model_of, rows_of

import lvm_fast as lf
from lvm_fast.export.verification_result import FunctionCheck, RetrievalCheck
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai.asset import stored_constants
from lvm_fast.export.coreai.runtime import RunningAsset
from lvm_fast.export.coreai.verify import Verification


@pytest.fixture
def copied(small_asset: Path, tmp_path: Path) -> Path:
    """`small_asset`, to be changed."""
    return Path(shutil.copytree(small_asset, tmp_path / "copy.aimodel"))


def test_an_asset_is_its_model(small: LatentVectorModel, small_asset: Path) -> None:
    verification = lf.verify_coreai(small_asset, small, rows_of(16, 300), contexts=3)
    assert verification.passed
    assert [(check.name, check.predictions) for check in verification.functions] == [("predict_3", 3), ("step", 32)]


@pytest.mark.parametrize(
    ("tensor", "constant"),
    [
        ("fusion.0.weight", "fusion.0.weight"),
        ("gru.weight_hh_l1", "gru.weight_hh_l1"),
        ("input_norm.bias", "input_norm.bias"),
        ("memory.memory", "memory.rows"),
    ],
)
def test_one_other_weight_is_found(tensor: str, constant: str, small: LatentVectorModel, small_asset: Path) -> None:
    other = copy.deepcopy(small)
    with torch.no_grad():
        other.state_dict()[tensor].view(-1)[3] += 1e-5
    verification = lf.verify_coreai(small_asset, other)
    assert not verification.passed
    for check in verification.functions:
        assert any(sentence.startswith(f"{constant} differs in ") for sentence in check.wrong_weights)


def test_a_changed_program_is_found_and_not_run(small: LatentVectorModel, copied: Path) -> None:
    program = bytearray((copied / "main.mlirb").read_bytes())
    program[len(program) // 2] ^= 1
    (copied / "main.mlirb").write_bytes(program)
    assert lf.verify_coreai(copied, small) == Verification((), ("the program is not the one that was exported",))
    (copied / "main.hash").write_bytes(hashlib.sha256(program).digest())
    assert lf.verify_coreai(copied, small).changes == ("the program is not the one that was exported",)


def test_a_file_beside_the_program_is_found(small: LatentVectorModel, copied: Path) -> None:
    (copied / "notes.txt").write_text("mine")
    assert lf.verify_coreai(copied, small).changes == ("it holds notes.txt, which was not exported",)


def test_changed_metadata_are_found(small: LatentVectorModel, copied: Path) -> None:
    about = json.loads((copied / "metadata.json").read_text())
    about["author"] = "somebody else"
    (copied / "metadata.json").write_text(json.dumps(about))
    assert lf.verify_coreai(copied, small).changes == ("what the asset says of itself is not what was exported",)


def test_what_is_no_asset_of_ours_is_refused(small: LatentVectorModel, copied: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Core AI asset"):
        lf.verify_coreai(tmp_path / "none.aimodel", small)
    with pytest.raises(ValueError, match="holds a memory_gru of width 16; the model is a lstm of width 16"):
        lf.verify_coreai(copied, model_of("lstm"))
    (copied / "metadata.json").write_text('{"assetVersion": "2.0"}')
    with pytest.raises(ValueError, match=r"^verify_coreai: .* was not exported by lvm_fast"):
        lf.verify_coreai(copied, small)
    (copied / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match="not a readable Core AI asset"):
        lf.verify_coreai(copied, small)


def test_rows_of_another_width_are_refused(small: LatentVectorModel, small_asset: Path) -> None:
    with pytest.raises(ValueError, match=r"^verify_coreai: vectors has shape \(3, 7\); expected \(T, 16\)"):
        lf.verify_coreai(small_asset, small, np.ones((3, 7), np.float32))
    with pytest.raises(ValueError, match=r"^verify_coreai: contexts: expected .*got 0"):
        lf.verify_coreai(small_asset, small, contexts=0)


@pytest.mark.parametrize("compress", ["int8", "palette6"])
def test_one_other_compressed_weight_is_found(compress: str, tmp_path: Path) -> None:
    model = model_of("memory_gru", input_dim=64, hidden_dim=48)
    asset = lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(3,), compress=compress)
    assert all(not check.wrong_weights for check in lf.verify_coreai(asset, model).functions)
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.get_parameter("fusion.0.weight")[5, 7] += 1.0
    for check in lf.verify_coreai(asset, other).functions:
        assert [sentence.split()[0] for sentence in check.wrong_weights] == ["fusion.0.weight"]


@pytest.mark.parametrize("compress", [None, "int8", "palette6", "palette4"])
def test_constants_read_back_as_core_ml_stores_them(compress: str | None, tmp_path: Path) -> None:
    from lvm_fast.export.coreai.asset import digest_of, read_metadata
    from lvm_fast.export.coreai.registry import Programs

    model = model_of("memory_gru", input_dim=64, hidden_dim=48)
    asset = lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(3,), streaming=False, compress=compress)
    wanted = Programs(model, "float16", compress).of(3).stored(3)
    found = stored_constants(asset, read_metadata(asset))["predict_3"]
    assert {name: digest_of(stored) for name, stored in found.items()} == {
        name: digest_of(stored) for name, stored in wanted.items()
    }


@pytest.mark.parametrize("precision", ["float16", "float32"])
@pytest.mark.parametrize("bank_dtype", ["float16", "int8"])
def test_topk_finds_what_exact_retrieval_finds(
    precision: str, bank_dtype: str, small: LatentVectorModel, tmp_path: Path
) -> None:
    bank = rows_of(16, 300)
    options = {"contexts": (), "streaming": False, "bank": bank, "bank_dtype": bank_dtype, "topk": 7}
    asset = lf.export_coreai(small, tmp_path / "m.aimodel", precision=precision, **options)
    for given in (None, bank):
        (check,) = lf.verify_coreai(asset, small, bank=given).functions
        assert isinstance(check, RetrievalCheck)
        assert check.passed, check.to_text()
    other = bank.copy()
    other[4] = -other[4]
    (check,) = lf.verify_coreai(asset, small, bank=other).functions
    assert not check.passed
    query = lf.l2_normalize(np.random.default_rng(1).standard_normal((1, 16)).astype(np.float32))
    with RunningAsset(asset) as running:
        found = running.run("topk", {"query": query})
    scores, ids = lf.VectorBank(bank, normalize=True).topk(query, 7)
    assert found["ids"].dtype == np.int32
    assert len(set(found["ids"][0]) & set(ids[0])) >= 6  # rounding may swap close calls
    np.testing.assert_allclose(found["scores"], scores, atol=2e-2)


def test_each_function_of_a_router_is_the_arm_of_its_length(
    small: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    router = lf.Router({4: model_of("lstm"), 9: small})
    asset = lf.export_coreai(router, tmp_path / "r.aimodel", streaming=False, precision="float32")
    verification = lf.verify_coreai(asset, router)
    assert [check.name for check in verification.functions] == ["predict_4", "predict_9"]
    assert verification.passed, verification.to_text()
    swapped = lf.Router({4: model_of("lstm"), 9: model_of("memory_gru", num_layers=2, normalize_delta=False)})
    assert lf.verify_coreai(asset, swapped).functions[0].passed
    assert not lf.verify_coreai(asset, swapped).functions[1].passed
    with pytest.raises(ValueError, match=r"^export_coreai: router has no step for streaming"):
        lf.export_coreai(router, tmp_path / "s.aimodel")


def test_verification_works_within_a_running_loop(small: LatentVectorModel, small_asset: Path) -> None:
    import asyncio

    async def inside() -> Verification:
        return lf.verify_coreai(small_asset, small)

    assert asyncio.run(inside()).passed


def test_the_runtime_is_quiet(small: LatentVectorModel, small_asset: Path, capfd: pytest.CaptureFixture[str]) -> None:
    checks = lf.verify_coreai(small_asset, small).functions
    assert all(isinstance(check, FunctionCheck) for check in checks)
    assert capfd.readouterr() == ("", "")


def test_an_export_is_quiet(small: LatentVectorModel, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lf.export_coreai(small, tmp_path / "m.aimodel", contexts=(3,), streaming=False)
    assert capfd.readouterr() == ("", "")

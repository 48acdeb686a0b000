"""What is left where an asset cannot be written: nothing, and what stood there before."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai import asset as asset_module
from lvm_fast.export.coreai.apple import AIProgram, bytes_of
from lvm_fast.export.coreai.convert import convert
from lvm_fast.export.coreai.functions import predict_function
from lvm_fast.export.coreai.registry import Programs

BOTH = ["m.aimodel", "m.aimodel.expected.safetensors"]


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """No file grows beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def everything_in(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def asset(small: LatentVectorModel, tmp_path: Path) -> Path:
    return lf.export_coreai(small, tmp_path / "m.aimodel", contexts=(3,), streaming=False)


# bytes: too few for the expectations, for the asset; for Apple's writer, which would end the process
@pytest.mark.parametrize(("limit", "culprit"), [(1000, BOTH[1]), (10_000, BOTH[0]), (25_000, BOTH[0])])
def test_a_full_disk_leaves_the_old_asset_alone(
    limit: int, culprit: str, small: LatentVectorModel, asset: Path, tmp_path: Path
) -> None:
    before = everything_in(tmp_path)
    with full_disk(limit), pytest.raises(OSError, match="cannot save: ") as caught:
        lf.export_coreai(small, asset, contexts=(3, 5), streaming=False, overwrite=True)
    assert caught.value.filename == str(tmp_path / culprit)
    assert everything_in(tmp_path) == before
    assert sorted(item.name for item in tmp_path.iterdir()) == BOTH


def test_no_room_to_run_an_asset_is_an_error(small: LatentVectorModel, asset: Path) -> None:
    with full_disk(10_000), pytest.raises(OSError, match="File too large"):
        lf.verify_coreai(asset, small)  # float16 is run as a copy


@pytest.mark.parametrize("failure", [KeyboardInterrupt, RuntimeError("disk on fire")])
def test_an_export_that_ends_halfway_leaves_the_old_asset_alone(
    failure: BaseException, small: LatentVectorModel, asset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(program: AIProgram, path: Path, about: object = None) -> None:
        (path / "main.mlirb").write_bytes(b"half")
        raise failure

    before = everything_in(tmp_path)
    monkeypatch.setattr(AIProgram, "save_asset", half)
    expected = OSError if isinstance(failure, RuntimeError) else KeyboardInterrupt
    with pytest.raises(expected):
        lf.export_coreai(small, asset, contexts=(3, 5), streaming=False, overwrite=True)
    assert everything_in(tmp_path) == before
    assert sorted(item.name for item in tmp_path.iterdir()) == BOTH


def test_what_does_not_read_back_as_it_was_is_not_left(
    small: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asset_module, "functions_in", lambda program: {"predict_3": None})
    with pytest.raises(ValueError, match=r"m\.aimodel was saved with predict_3; expected predict_3, step"):
        lf.export_coreai(small, tmp_path / "m.aimodel", contexts=(3,))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("compress", [None, "int8", "palette4"])
def test_the_room_that_is_asked_for_is_enough_and_little_more(compress: str | None, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = lf.create_model("memory_gru", input_dim=192, hidden_dim=192, num_layers=2, memory_slots=128)
    program = convert({"predict_3": predict_function(Programs(model, "float16", compress).of(3), 3)})
    program.save_asset(tmp_path / "m.aimodel")
    size = (tmp_path / "m.aimodel" / "main.mlirb").stat().st_size
    assert size <= bytes_of(program) <= 1.1 * size

"""A package of which any byte was changed since export does not pass `verify_coreml`."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")

from lvm_fast.export.package.canonical import messages_in  # noqa: E402
from lvm_fast.export.package.weight_file import Constant, constants_in, weight_file_fault  # noqa: E402

SEALS = [f"lvm_fast.{part}_sha256" for part in ("weights", "program", "description")]

WEIGHTS, PROGRAM = Path("Data/com.apple.CoreML/weights/weight.bin"), Path("Data/com.apple.CoreML/model.mlmodel")
WIDE = {"input_dim": 64, "hidden_dim": 48, "memory_slots": 64}  # sizes whose matrices are worth compressing


@pytest.fixture(scope="session", params=["float16", "int8", "palette6", "palette4"])
def sealed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    small_model: Callable[..., LatentVectorModel],
) -> tuple[Path, LatentVectorModel]:
    """A package with a bank, a loop and a state, in each compression, and its model. To be read only."""
    how = {} if request.param == "float16" else {"compress": request.param}
    model = small_model(**(WIDE if how else {}))
    bank = np.random.default_rng(0).standard_normal((21, model.input_dim)).astype(np.float32)
    path = tmp_path_factory.mktemp("changed") / "m.mlpackage"
    return lf.export_coreml(model, path, contexts=(3,), bank=bank, topk=4, **how), model


@pytest.fixture
def copied(sealed: tuple[Path, LatentVectorModel], tmp_path: Path) -> tuple[Path, LatentVectorModel]:
    return Path(shutil.copytree(sealed[0], tmp_path / "m.mlpackage")), sealed[1]


def unsealed(package: Path) -> Path:
    """A package as it used to be."""
    spec = ct.utils.load_spec(str(package))
    for part in SEALS:
        del spec.description.metadata.userDefined[part]
    (package / PROGRAM).write_bytes(spec.SerializeToString())
    return package


def passes(package: Path, model: LatentVectorModel) -> bool:
    """Whether it verifies; what cannot even be read is an error of one line."""
    try:
        return lf.verify_coreml(package, model, contexts=1).passed
    except ValueError:
        return False


def flips(file: Path, places: Iterator[int]) -> Iterator[int]:
    """Change one bit of a byte at each place in turn, always the same one, and put it back."""
    whole = file.read_bytes()
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << random.Random(place).randrange(8)
        file.write_bytes(changed)
        yield place
    file.write_bytes(whole)


def spread(file: Path, count: int) -> Iterator[int]:
    size = file.stat().st_size
    return iter(sorted({(2 * number + 1) * size // (2 * count) for number in range(count)}))


def offsets_of(package: Path) -> list[int]:
    """Where the constants begin in the weight file."""
    weights = (package / WEIGHTS).read_bytes()
    return [at for at in range(64, len(weights), 64) if weights[at : at + 4] == b"\xef\xbe\xad\xde"]


def test_a_package_that_was_not_changed_passes(copied: tuple[Path, LatentVectorModel]) -> None:
    assert passes(*copied)
    assert lf.verify_coreml(*copied, contexts=1).changes == ()
    assert passes(unsealed(copied[0]), copied[1])


def test_every_region_of_the_weight_file_is_held(copied: tuple[Path, LatentVectorModel]) -> None:
    """Header, each field of a constant's own block, its numbers, the zeros after them."""
    package, model = copied
    first, second, *_ = offsets_of(package)
    places = [0, 4, 63, *(first + field for field in (0, 4, 8, 16, 24, 63)), first + 64, second - 1]
    for place in flips(package / WEIGHTS, iter(places)):
        assert not passes(package, model), place


def test_bytes_of_a_weight_file_without_a_seal_are_explained_by_constants_or_zero(
    copied: tuple[Path, LatentVectorModel],
) -> None:
    package = unsealed(copied[0])
    file = package / WEIGHTS
    constants = list(constants_in(ct.utils.load_spec(str(package))))
    assert weight_file_fault(file, constants) is None
    offsets = offsets_of(package)
    ends = [*offsets[1:], file.stat().st_size]
    for begin, end in [*zip(offsets, ends, strict=True)][::5]:
        size = int.from_bytes(file.read_bytes()[begin + 8 : begin + 16], "little")
        own = [begin + field for field in range(0, 64, 5)]
        padding = range(begin + 64 + size, end)
        for place in flips(file, iter([*own, *padding])):
            assert f"the first is byte {place}" in str(weight_file_fault(file, constants))
        for _ in flips(file, iter([begin + 64, begin + 64 + size // 2])):
            assert weight_file_fault(file, constants) is None  # a number: compared with the model's


def test_changed_numbers_are_named_beside_the_change(copied: tuple[Path, LatentVectorModel]) -> None:
    package, model = copied
    file = package / WEIGHTS
    for place in flips(file, iter([offsets_of(package)[0] + 65])):  # input_norm.weight
        found = lf.verify_coreml(package, model, contexts=1)
        assert found.changes == ("the weight file is not the one that was exported",), place
        assert all(check.wrong_weights for check in found.functions[:2])
        assert found.to_text().endswith("CHANGED: the weight file is not the one that was exported")
        assert found.to_dict()["changes"] == list(found.changes)


@pytest.mark.parametrize("numbers", [1, 3, 7])
def test_bits_past_the_last_number_are_zero(numbers: int, tmp_path: Path) -> None:
    """Of 4 and 6 bits a number: the last byte has room to spare."""
    for dtype, code, bits in ((35, 11, 4), (38, 13, 6)):
        size = -(-numbers * bits // 8)
        spare = 8 * size - numbers * bits
        constants = [Constant(64, dtype, numbers)]
        own = b"".join(
            number.to_bytes(width, "little")
            for number, width in ((0xDEADBEEF, 4), (code, 4), (size, 8), (128, 8), (spare, 8), (0, 32))
        )
        head = (1).to_bytes(4, "little") + (2).to_bytes(4, "little") + bytes(56)
        file = tmp_path / "weight.bin"
        file.write_bytes(head + own + bytes([0xFF] * (size - 1) + [0xFF >> spare]))
        assert weight_file_fault(file, constants) is None
        for bit in range(8):
            file.write_bytes(head + own + bytes([0xFF] * (size - 1) + [(0xFF >> spare) ^ (1 << bit)]))
            fault = weight_file_fault(file, constants)
            assert (fault is None) == (bit < 8 - spare), (bits, bit)
        file.write_bytes(head + own)
        assert "the weight file ends at byte 128; a constant is at bytes 128 to" in str(
            weight_file_fault(file, constants)
        )


def same_message(package: Path, whole: bytes) -> bool:
    """Whether the program is written in other bytes, but says the same."""
    before = ct.proto.Model_pb2.Model()
    before.ParseFromString(whole)
    return bool(ct.utils.load_spec(str(package)) == before)


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_a_program_whose_byte_was_changed_does_not_pass_unless_it_says_the_same(
    copied: tuple[Path, LatentVectorModel], count: int
) -> None:
    package, model = copied
    file = package / PROGRAM
    whole = file.read_bytes()
    survivors = [place for place in flips(file, spread(file, count)) if passes(package, model)]
    for place in flips(file, iter(survivors)):
        assert same_message(package, whole), place
    assert len(survivors) <= 1 + count // 100


@pytest.mark.slow
def test_a_weight_file_whose_byte_was_changed_never_passes(copied: tuple[Path, LatentVectorModel]) -> None:
    package, model = copied
    file = package / WEIGHTS
    assert [place for place in flips(file, spread(file, 100)) if passes(package, model)] == []


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_a_program_without_a_seal_ends_in_findings_or_an_error_of_one_line(
    copied: tuple[Path, LatentVectorModel], count: int
) -> None:
    package, model = copied
    unsealed(package)
    for _ in flips(package / PROGRAM, spread(package / PROGRAM, count)):
        passes(package, model)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda spec: setattr(spec.description.metadata, "author", "Me"),
            "what the package says of itself is not what",
        ),
        (
            lambda spec: spec.description.metadata.userDefined.update({"mine": "1"}),
            "what the package says of itself is not",
        ),
        (lambda spec: setattr(spec, "specificationVersion", 10), "what the package says of itself is not what"),
        (
            lambda spec: spec.description.metadata.userDefined.pop(SEALS[1]),
            "the program is not the one that was exported",
        ),
        (lambda spec: spec.description.metadata.userDefined.pop(SEALS[0]), "the weight file is not the one that was"),
        (
            lambda spec: spec.description.metadata.userDefined.pop(SEALS[2]),
            "what the package says of itself is not",
        ),
        (lambda spec: spec.MergeFromString(b"\xfa\x7f\x01x"), "what the package says of itself is not what"),
        (lambda spec: spec.mlProgram.MergeFromString(b"\xfa\x7f\x01x"), "the program is not the one that was exported"),
    ],
)
def test_what_has_changed_is_said(
    package: Path, model: LatentVectorModel, tmp_path: Path, change: Callable[[Any], Any], words: str
) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "m.mlpackage"))
    spec = ct.utils.load_spec(str(copy))
    change(spec)
    (copy / PROGRAM).write_bytes(spec.SerializeToString())
    found = lf.verify_coreml(copy, model, contexts=1)
    assert not found.passed
    assert any(change.startswith(words) for change in found.changes), found.changes
    assert ("program" in words) == (found.functions == ())  # what has changed is not run
    assert all(check.passed for check in found.functions)


def test_the_same_message_in_other_bytes_passes(package: Path, model: LatentVectorModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(package, tmp_path / "m.mlpackage"))
    spec = ct.utils.load_spec(str(copy))
    for deterministic in (False, True):
        (copy / PROGRAM).write_bytes(spec.SerializeToString(deterministic=deterministic))
        assert lf.verify_coreml(copy, model, contexts=1).passed


def test_a_loop_that_would_not_end_is_an_error(package: Path, model: LatentVectorModel, tmp_path: Path) -> None:
    """Without a seal nothing says that a step of 1 has become one of 0."""
    copy = unsealed(Path(shutil.copytree(package, tmp_path / "m.mlpackage")))
    spec = ct.utils.load_spec(str(copy))
    for loop in messages_in(spec.mlProgram):
        if loop.DESCRIPTOR.name == "Operation" and loop.type == "while_loop":
            by_name = {op.outputs[0].name: op for op in loop.blocks[1].operations}
            step = next(
                op
                for op in loop.blocks[1].operations
                if op.type == "add" and op.outputs[0].type == loop.outputs[0].type
            )
            one = by_name[step.inputs["y"].arguments[0].name].attributes["val"].immediateValue.tensor.ints.values
            assert list(one) == [1]
            one[0] = 0
    (copy / PROGRAM).write_bytes(spec.SerializeToString())
    with pytest.raises(
        ValueError, match="function 'predict_3' cannot be compared: a loop goes on for more than 16 rounds"
    ):
        lf.verify_coreml(copy, model, contexts=1)


def test_the_command_says_so_and_ends_with_1(
    package: Path, model: LatentVectorModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model.save_pretrained(tmp_path / "saved")
    copy = Path(shutil.copytree(package, tmp_path / "m.mlpackage"))
    words = ["verify", str(copy), "--checkpoint", str(tmp_path / "saved")]
    assert main(words) == 0
    file = copy / WEIGHTS
    file.write_bytes(file.read_bytes() + bytes(64))
    assert main(words) == 1
    assert capsys.readouterr().out.endswith("CHANGED: the weight file is not the one that was exported\n")


def test_a_zero_whose_sign_was_changed_is_another_weight(
    small_model: Callable[..., LatentVectorModel], tmp_path: Path
) -> None:
    model, other = small_model(), small_model()
    model.get_parameter("fusion.0.bias").data[3] = 0.0
    other.get_parameter("fusion.0.bias").data[3] = -0.0
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), streaming=False)
    assert lf.verify_coreml(package, model).passed
    (check,) = lf.verify_coreml(package, other).functions
    assert check.wrong_weights == ("fusion_0_bias differs in 1 of 12 numbers",)

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.data.chain_store import ChainStore

Write = Callable[..., Path]

OFFSETS = {"dtype": "I64", "shape": [2], "data_offsets": [0, 16]}
VECTORS = {"dtype": "F32", "shape": [2, 2], "data_offsets": [16, 32]}
DATA = np.array([0, 2], dtype="<i8").tobytes() + np.ones((2, 2), dtype="<f4").tobytes()


def header(**changes: Any) -> dict[str, Any]:
    return {"offsets": OFFSETS, "vectors": VECTORS, **changes}


def test_the_honest_file_opens(write_container: Write) -> None:
    store = ChainStore.open(write_container(header(), DATA))
    np.testing.assert_array_equal(store.vectors[:], np.ones((2, 2)))
    assert store.ids == ["chain_0"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (header(vectors={**VECTORS, "shape": [2, 3]}), "takes 24 bytes; its data_offsets"),
        (
            header(vectors={**VECTORS, "shape": [2**62, 2**62]}),
            r"no whole number of bytes below 2\^64; its data_offsets",
        ),
        (header(vectors={**VECTORS, "shape": [4, 2], "data_offsets": [16, 48]}), "claims 48 bytes .* file holds 32"),
        (header(vectors={**VECTORS, "shape": [1, 2], "data_offsets": [16, 24]}), "claims 24 bytes .* file holds 32"),
        (header(vectors={**VECTORS, "data_offsets": [8, 24]}), "overlaps the tensor before"),
        (header(vectors={**VECTORS, "data_offsets": [20, 36]}), "leaves a hole before"),
        (header(vectors={**VECTORS, "data_offsets": [32, 16]}), "data_offsets"),
        (header(vectors={**VECTORS, "shape": [-2, -2]}), "expected integers >= 0"),
        (header(vectors={**VECTORS, "shape": [2.0, 2.0]}), "expected integers >= 0"),
        (header(vectors={**VECTORS, "shape": 4}), "expected integers >= 0"),
        (header(vectors={**VECTORS, "shape": [0, 2**70], "data_offsets": [16, 16]}), "expected integers >= 0"),
        (header(vectors={**VECTORS, "shape": [0, 2**62], "data_offsets": [16, 16]}), ""),
        (header(vectors={**VECTORS, "shape": [2**60] * 100_000}), "takes no whole number of bytes"),
        (header(vectors={**VECTORS, "shape": [2**62, 2**62, 0], "data_offsets": [16, 16]}), "takes no whole number"),
        (header(vectors={**VECTORS, "shape": [1] * 98 + [2, 2]}), "vectors' has shape .*: maximum"),
        (header(vectors={**VECTORS, "dtype": "F4", "shape": [3], "data_offsets": [16, 17]}), "takes no whole number"),
        (header(vectors={**VECTORS, "data_offsets": [16]}), "expected integers >= 0"),
        (header(vectors={**VECTORS, "dtype": "I32"}), "tensor 'vectors' has dtype I32; expected F32 or"),
        (header(vectors={**VECTORS, "dtype": "F128"}), "dtype 'F128'; expected one of the format, such as F32"),
        (header(vectors={**VECTORS, "dtype": ["F32"]}), "expected one of the format, such as F32"),
        (header(vectors={**VECTORS, "data_offsets": [16, 2**64]}), "expected integers >= 0"),
        (header(vectors={"dtype": "F32", "shape": [2, 2]}), "expected dtype, shape and data_offsets"),
        (header(vectors=7), "malformed"),
        (header(__metadata__={"ids": 3}), "__metadata__"),
        (header(__metadata__=[]), "__metadata__"),
        (header(__metadata__={"ids": '["a", "b"]'}), "2 ids for 1 chains"),
        (header(__metadata__={"ids": '{"a": 1}'}), "ids is not a list of strings"),
        (header(offsets={**OFFSETS, "dtype": "F32", "shape": [4]}), "'offsets' has dtype F32; expected I64"),
        (header(vectors={**VECTORS, "dtype": "I64", "shape": [2, 1]}), "'vectors' has dtype I64; expected F32 or"),
        (header(vectors={**VECTORS, "shape": [4]}), r"shape \(4,\); expected \(T, D\)"),
        (header(vectors={**VECTORS, "dtype": "I8", "shape": [2, 8]}), "int8 vectors came without scales"),
        ({"offsets": OFFSETS, "weights": VECTORS}, "no tensor 'vectors'; found offsets, weights"),
        ({"vectors": VECTORS, "ends": OFFSETS}, "no tensor 'offsets'"),
        ([], "a JSON list; expected an object"),
        (b"{not json", "no valid JSON"),
        (b"\xff\xfe{}", "no valid JSON"),
        (b"[" * 200_000, "no valid JSON"),
        (json.dumps(header()).encode() + b"\0", "no valid JSON"),
        (b"\xef\xbb\xbf" + json.dumps(header()).encode(), "no valid JSON"),
        (json.dumps(header()).encode("utf-16-le"), "no valid JSON"),
        (json.dumps(header()).replace("16, 32", "16, 32, 32").encode(), "expected integers >= 0"),
        (json.dumps(header()).replace("[0, 16]", "[-0, 16]").encode(), "expected integers >= 0"),
        (json.dumps(header(__metadata__={"k": "\ud83d"})).encode(), "no valid JSON .*half of a surrogate pair"),
        (json.dumps(header(__metadata__={"k": "1", "l": "2"})).replace('"l"', '"k"').encode(), "'k' stands twice"),
        (json.dumps(header(w=VECTORS)).replace('"w"', '"vectors"').encode(), "the key 'vectors' stands twice"),
        (json.dumps(header(vectors={**VECTORS, "x": float("nan")})).encode(), "NaN is no JSON number"),
        (json.dumps(header(vectors={**VECTORS, "x": 0.5})).replace("0.5", "1e999").encode(), "beyond those of float64"),
        (
            json.dumps(header(vectors={**VECTORS, "x": []})).replace("[]", "[" * 126 + "]" * 126).encode(),
            "more than 127",
        ),
    ],
)
def test_a_header_that_lies_is_refused(write_container: Write, made: Any, message: str) -> None:
    path = write_container(made, DATA)
    with pytest.raises(ValueError, match=f"ChainStore.open: .*made.safetensors: .*{message}"):
        ChainStore.open(path)


@pytest.mark.parametrize(
    "made",
    [
        header(__metadata__=None),
        header(vectors={**VECTORS, "x": {"y": [1, 2.5, None, True, 10**30, "\U0001f600"]}}),
        header(none={"dtype": "F8_E4M3FNUZ", "shape": [0, 2**64 - 1], "data_offsets": [16, 16]}),
        b"\n " + json.dumps(header()).encode() + b" \t\r\n",
        json.dumps(header(vectors={**VECTORS, "x": []})).replace("[]", "[" * 125 + "]" * 125).encode(),
    ],
)
def test_what_the_format_allows_opens(write_container: Write, made: Any) -> None:
    np.testing.assert_array_equal(ChainStore.open(write_container(made, DATA)).vectors[:], np.ones((2, 2)))


@pytest.mark.parametrize("length", [2**63, 10_000, 99_999_999])
def test_a_header_longer_than_the_file_is_refused(write_container: Write, length: int) -> None:
    with pytest.raises(ValueError, match=f"header claims {length} bytes"):
        ChainStore.open(write_container(header(), DATA, length=length))


def test_offsets_in_a_file_are_checked(write_container: Write) -> None:
    data = np.array([0, 3], dtype="<i8").tobytes() + DATA[16:]
    with pytest.raises(ValueError, match="last of the offsets is 3; expected the number of vectors, 2"):
        ChainStore.open(write_container(header(), data))


def test_every_truncation_is_an_error(tmp_path: Path, store: ChainStore) -> None:
    store.save(tmp_path / "whole", "int8")
    whole = (tmp_path / "whole").read_bytes()
    for size in (*range(0, 1000, 7), len(whole) - 1):
        (tmp_path / "cut").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"truncated|expected a safetensors file"):
            ChainStore.open(tmp_path / "cut")
    (tmp_path / "more").write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="truncated or damaged"):
        ChainStore.open(tmp_path / "more")


def test_a_missing_file_is_a_file_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ChainStore.open(tmp_path / "nowhere")


def test_misaligned_tensors_are_read(write_container: Write) -> None:
    rows = np.arange(1, 7, dtype="<f4").reshape(3, 2)
    made = {
        "pad": {"dtype": "I8", "shape": [3], "data_offsets": [0, 3]},
        "vectors": {"dtype": "F32", "shape": [3, 2], "data_offsets": [3, 27]},
        "offsets": {"dtype": "I64", "shape": [2], "data_offsets": [27, 43]},
    }
    store = ChainStore.open(write_container(made, b"abc" + rows.tobytes() + struct.pack("<qq", 0, 3)))
    np.testing.assert_array_equal(store.vectors[:], rows)


def test_the_header_is_padded_and_ordered_as_the_format_asks(tmp_path: Path, store: ChainStore) -> None:
    store.save(tmp_path / "s", "int8")
    data = (tmp_path / "s").read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    assert length % 8 == 0
    assert list(json.loads(data[8 : 8 + length])) == ["__metadata__", "offsets", "scales", "vectors"]

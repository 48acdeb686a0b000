"""The header reader beside the safetensors library's own, on mutated files: what we take, it takes, and the same."""

from __future__ import annotations

import io
import json
import random
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, deserialize, safe_open

from lvm_fast.data.safetensors_file import Header, read_header

SHAPES = {"I64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "F64": 8, "BOOL": 1, "F8_E4M3": 1}
PIECES = [
    *(b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b" ", b"\n", b"\t", b"\0", b"-", b"0", b"1", b".", b"e", b"/"),
    *(b"-0", b"0.0", b"1e3", b"1e999", b"9" * 25, b"18446744073709551615", b"18446744073709551616", b"NaN", b"null"),
    *(b"true", b"[]", b"{}", b'""', b"\\u0000", b"\\ud83d", b"\\ude00", b"\\ud83d\\ude00", b"\\u00e9", b"\\/", b"\\x"),
    *(b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b"\xef\xbb\xbf", b"\x7f", b"\x1f", b'"__metadata__"', b'"dtype":"F32",'),
    *(b'"shape":[2],', b'"data_offsets":[0,8],', b'"extra":[[1,{"a":2}]],', b"[" * 130, b"]" * 130, b'"a":1,', b",,"),
    *(code.encode() for code in SHAPES),
]


def good_file(rng: random.Random) -> bytes:
    """A file of a few tensors, some of them without numbers, and metadata."""
    header: dict[str, Any] = {}
    if rng.random() < 0.7:
        header["__metadata__"] = {
            f"k{n}": rng.choice(["", "text", "\N{SNOWMAN}", '["a"]']) for n in range(rng.randint(0, 3))
        }
    position = 0
    for number in range(rng.randint(0, 4)):
        code, shape = rng.choice(list(SHAPES)), [rng.randint(0, 4) for _ in range(rng.randint(0, 3))]
        size = SHAPES[code]
        for length in shape:
            size *= length
        header[f"t{number}"] = {"dtype": code, "shape": shape, "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, ensure_ascii=rng.random() < 0.5).encode() + b" " * rng.randint(0, 8)
    return struct.pack("<Q", len(text)) + text + bytes(position)


def mutated(whole: bytes, rng: random.Random) -> bytes:
    """A few edits in the header, whose length then is right or not, or anywhere."""
    (length,) = struct.unpack("<Q", whole[:8])
    text, data = bytearray(whole[8 : 8 + length]), whole[8 + length :]
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        place = rng.randint(0, len(text))
        kind = rng.randint(0, 5)
        if kind == 0 and text:
            text[place % len(text)] ^= 1 << rng.randint(0, 7)
        elif kind == 1:
            text[place : place + rng.randint(1, 4)] = b""
        elif kind == 2:
            text[place:place] = rng.choice(PIECES)
        elif kind == 3:
            text[place : place + rng.randint(1, 3)] = rng.choice(PIECES)
        elif kind == 4:  # a part again, somewhere
            begin = rng.randint(0, len(text))
            text[place:place] = text[begin : begin + rng.randint(1, 60)]
        else:
            digits = [at for at, byte in enumerate(text) if 48 <= byte <= 57] or [0]
            at = rng.choice(digits)
            text[at : at + 1] = str(rng.randint(0, 20)).encode()
    shown = len(text) if rng.random() < 0.95 else rng.choice([length, 0, 2**63, 100_000_001, rng.randint(0, 300)])
    whole = struct.pack("<Q", shown) + bytes(text) + data
    return whole if rng.random() < 0.95 else whole[: rng.randint(0, len(whole))]


def ours(whole: bytes) -> Header | str:
    try:
        return read_header(io.BytesIO(whole), len(whole))
    except ValueError as error:
        return str(error)


def theirs(whole: bytes) -> dict[str, Any] | None:
    try:
        return dict(deserialize(whole))
    except SafetensorError:
        return None


def files(count: int, seed: int) -> Iterator[bytes]:
    rng = random.Random(seed)
    for _ in range(count):
        whole = good_file(rng)
        assert theirs(whole) is not None
        yield mutated(whole, rng)


def compare(count: int, seed: int, place: Path) -> int:
    """How many of so many mutated files are taken, by both and as the same."""
    taken = 0
    for whole in files(count, seed):
        mine, known = ours(whole), theirs(whole)
        if isinstance(mine, str):
            assert known is None or "stands twice" in mine, (mine, whole)
            continue
        assert known is not None, whole
        assert mine.entries.keys() == known.keys()
        for name, entry in mine.entries.items():
            assert (entry.code, list(entry.shape)) == (known[name]["dtype"], known[name]["shape"]), whole
            assert entry.end - entry.begin == len(known[name]["data"])
        place.write_bytes(whole)
        with safe_open(place, "numpy") as file:
            assert mine.metadata == (file.metadata() or {})
        taken += 1
    return taken


def test_mutated_files_are_taken_where_the_library_takes_them(tmp_path: Path) -> None:
    assert compare(3_000, 1, tmp_path / "file") > 150


@pytest.mark.slow
def test_many_mutated_files_are_taken_where_the_library_takes_them(tmp_path: Path) -> None:
    assert compare(200_000, 2, tmp_path / "file") > 10_000

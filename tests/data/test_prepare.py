from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.prepare import cut_chains, read_vectors

ROWS = np.random.default_rng(0).standard_normal((20, 4), dtype=np.float32)


def write_lines(path: Path, *records: Any) -> Path:
    text = "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_an_array_is_one_chain(tmp_path: Path) -> None:
    np.save(tmp_path / "book.npy", ROWS)
    store = read_vectors(tmp_path / "book.npy")
    assert store.ids == ["book"]
    assert store.metadata == {"source": "book.npy"}
    np.testing.assert_array_equal(store.vectors[:], ROWS)


def test_an_array_with_offsets_is_several(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.asfortranarray(ROWS))
    np.save(tmp_path / "offsets.npy", [0, 5, 20])
    store = read_vectors(tmp_path / "rows.npy", tmp_path / "offsets.npy")
    np.testing.assert_array_equal(store.offsets, [0, 5, 20])
    store.save(tmp_path / "s")
    np.testing.assert_array_equal(ChainStore.open(tmp_path / "s").vectors[:], ROWS)


@pytest.mark.parametrize("name", ["v.jsonl", "v.jsonl.gz"])
def test_json_lines_are_a_chain_each(tmp_path: Path, name: str) -> None:
    lines = [{"id": "a", "vectors": ROWS[:3].tolist()}, "", {"id": "b", "vectors": ROWS[3:].tolist()}]
    store = read_vectors(write_lines(tmp_path / name, *lines))
    assert store.ids == ["a", "b"]
    np.testing.assert_array_equal(store.offsets, [0, 3, 20])
    np.testing.assert_array_equal(store.vectors[:], ROWS)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"id": "a"}, 'no "vectors"$'),
        ({"id": "a", "text": "hello"}, "`lvm-fast encode` turns text into vectors"),
        ({"id": "a", "chunks": ["hello"]}, "`lvm-fast encode`"),
        ({"vectors": [[1]]}, '"id" is None; expected a string'),
        ({"id": 5, "vectors": [[1]]}, '"id" is 5'),
        ({"id": "a", "vectors": [[1, 2], [3]]}, "equally long lists"),
        ({"id": "a", "vectors": [["x"]]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": "text"}, "equally long lists of numbers"),
        ({"id": "a", "vectors": [{}]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": []}, r"shape \(0,\)"),
        ({"id": "a", "vectors": [1, 2]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": [[], []]}, r"shape \(2, 0\); expected \(rows, D\)"),
        ({"id": "a", "vectors": [[1, 2, 3, 4], [0, 0, 0, 0]]}, "row 1 is all zeros"),
        ({"id": "a", "vectors": [[1, 2, 3, 1e300]]}, "row 0 holds NaN or Inf"),
        ('{"id": "a", "vectors": [[1, 2, 3, NaN]]}', "NaN is no JSON number"),
        ({"id": "a", "vectors": [["1", "2", "3", "4"]]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": [[True, 2, 3, 4]]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": [[None, 2, 3, 4]]}, "equally long lists of numbers"),
        ({"id": "a", "vectors": [[[1], [2], [3], [4]]]}, "equally long lists of numbers"),
        ('{"id": "a", "vectors": [[1, 2, 3, 4]], "id": "b"}', "the key 'id' stands twice"),
        ({"id": "a", "vectors": [[1, 2]]}, "vectors of 2 numbers; expected 4 as before"),
        ([1], "a JSON list; expected an object"),
        ("{half", "no valid JSON"),
        ("[" * 100_000, "no valid JSON"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: Any, message: str) -> None:
    path = write_lines(tmp_path / "v.jsonl", {"id": "first", "vectors": ROWS.tolist()}, "", line)
    with pytest.raises(ValueError, match=rf"v\.jsonl: line 3: .*{message}"):
        read_vectors(path)


def test_files_that_hold_nothing_or_something_else_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n\n")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": "a"}' * 100)[:-12])
    damaged = bytearray(gzip.compress(bytes(range(256)) * 9))
    damaged[20:40] = b"\xff" * 20
    (tmp_path / "bad.jsonl.gz").write_bytes(damaged)
    (tmp_path / "no.jsonl.gz").write_bytes(b"plain")
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    (tmp_path / "rows.csv").write_text("1,2")
    for name, message in (
        ("empty.jsonl", "holds no documents"),
        ("cut.jsonl.gz", "damaged gzip data"),
        ("bad.jsonl.gz", "damaged gzip data"),
        ("no.jsonl.gz", "damaged gzip data"),
        ("latin.jsonl", "no valid JSON in UTF-8"),
        ("rows.csv", r"expected a \.npz, \.npy"),
    ):
        with pytest.raises(ValueError, match=f"{name}: .*{message}"):
            read_vectors(tmp_path / name)


def test_bad_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    whole = tmp_path / "whole.npy"
    np.save(whole, ROWS)
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"not a plain, whole \.npy file"):
        read_vectors(path)
    for size in (0, 5, 90, 200):
        path.write_bytes(whole.read_bytes()[:size])
        with pytest.raises(ValueError, match=r"not a plain, whole \.npy file"):
            read_vectors(path)
    for array, message in ((np.float32(3), "single number"), (np.ones((2, 2)), "float64"), (ROWS[0], r"shape \(4,\)")):
        np.save(path, array)
        with pytest.raises(ValueError, match=f"rows.npy: .*{message}"):
            read_vectors(path)
    np.save(path, [0, 30])
    with pytest.raises(ValueError, match=r"whole\.npy: the last of the offsets is 30"):
        read_vectors(whole, path)
    (tmp_path / "x.jsonl").write_text("")
    with pytest.raises(ValueError, match="offsets go with a file of rows only"):
        read_vectors(tmp_path / "x.jsonl", path)


def test_the_command_writes_a_store_and_tells_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    windows = np.stack([ROWS[at : at + 6] for at in range(0, 14, 2)])
    np.savez(tmp_path / "w.npz", context_sequences=windows, target_vectors=ROWS[6:20:2])
    output = tmp_path / "s.safetensors"
    assert main(["prepare", str(tmp_path / "w.npz"), "--output", str(output), "--dtype", "float16"]) == 0
    store = ChainStore.open(output)
    np.testing.assert_array_equal(store.vectors.raw, ROWS[:19].astype(np.float16))
    said = capsys.readouterr().out
    assert "7 windows held 49 rows; joined, 19 remain" in said
    assert "chains=1 rows=19 dim=4 dtype=float16" in said
    assert "MB before" in said


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_float64_is_converted_when_a_dtype_is_given(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "wide.npy", ROWS.astype(np.float64))
    np.save(tmp_path / "narrow.npy", ROWS)
    for name in ("wide", "narrow"):
        output = tmp_path / f"{name}.safetensors"
        assert main(["prepare", str(tmp_path / f"{name}.npy"), "--output", str(output), "--dtype", dtype]) == 0
    wide, narrow = (ChainStore.open(tmp_path / f"{name}.safetensors") for name in ("wide", "narrow"))
    np.testing.assert_array_equal(wide.vectors.raw, narrow.vectors.raw)
    np.save(tmp_path / "wide.npy", np.full((2, 3), 1e300))
    arguments = ["prepare", str(tmp_path / "wide.npy"), "--output", str(tmp_path / "s.safetensors"), "--dtype", dtype]
    assert main(arguments) == 2


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (20, 4), ",
        b"'",
        b"  1\n 2",
        b"(" * 300,
        b"{'a': 1L}",
        b"\0",
        b"",
    ],
)
def test_a_header_that_is_no_python_is_refused(tmp_path: Path, header: bytes) -> None:
    damaged = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + ROWS.tobytes()
    (tmp_path / "rows.npy").write_bytes(damaged)
    with pytest.raises(ValueError, match=r"rows\.npy: not a plain, whole \.npy file: "):
        read_vectors(tmp_path / "rows.npy")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("context_sequences.npy", damaged)
    with pytest.raises(ValueError, match=r"w\.npz: array 'context_sequences' cannot be read: "):
        read_vectors(tmp_path / "w.npz")


def test_no_advice_to_trust_pickles(tmp_path: Path) -> None:
    (tmp_path / "text.npy").write_text("hello, I am a text")
    np.save(tmp_path / "object.npy", np.array([{}], dtype=object), allow_pickle=True)
    header = b"{" + b" " * 20_000
    (tmp_path / "long.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    for name in ("text", "object", "long"):
        with pytest.raises(ValueError, match=f"{name}.npy: not a plain, whole .npy file: (?!.*(pickle|trust))"):
            read_vectors(tmp_path / f"{name}.npy")


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = ROWS.copy()
    bad[3, 2] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    np.save(tmp_path / "good.npy", ROWS)
    np.save(tmp_path / "wide.npy", ROWS.astype(np.float64))
    output = tmp_path / "s.safetensors"
    for source, target, message in (
        ("bad.npy", output, "bad.npy: ChainStore.write: vectors: row 3 holds NaN or Inf"),
        ("missing.npy", output, "missing.npy"),
        ("good.npy", tmp_path / "no" / "folder" / "s.safetensors", "folder/s.safetensors"),
        ("good.npy", tmp_path / "good.npy" / "s.safetensors", "good.npy/s.safetensors"),
        ("good.npy", tmp_path, "expected a name ending in .safetensors"),
        ("good.npy", tmp_path / "s.npy", "s.npy'; expected a name ending in .safetensors"),
        ("good.npy", tmp_path / "good.npy", "good.npy' is an input too; expected another file"),
        ("wide.npy", output, "wide.npy: holds float64; say with dtype (--dtype) how to store it"),
    ):
        assert main(["prepare", str(tmp_path / source), "--output", str(target)]) == 2
        said = capsys.readouterr()
        assert said.err.startswith("lvm-fast: error: ")
        assert message in said.err
        assert said.err.count("\n") == 1
        assert {item.name for item in tmp_path.iterdir()} == {"bad.npy", "good.npy", "wide.npy"}


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    np.save(tmp_path / "big.npy", np.ones((1000, 64), dtype=np.float32))
    command = [sys.executable, "-m", "lvm_fast", "prepare", str(tmp_path / "big.npy"), "--output", "s.safetensors"]
    result = subprocess.run(
        command,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),  # no file may grow past this
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("lvm-fast: error: ")
    assert "cannot save: File too large" in result.stderr
    assert result.stderr.count("\n") == 1
    assert [item.name for item in tmp_path.iterdir()] == ["big.npy"]


def test_long_chains_are_cut_into_equal_pieces(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = cut_chains(ChainStore(ROWS, [0, 7, 7, 20], ["a", "b", "c"]), 5)
    assert store.ids == ["a[0:3]", "a[3:7]", "b", "c[0:4]", "c[4:8]", "c[8:13]"]
    np.testing.assert_array_equal(store.offsets, [0, 3, 7, 7, 11, 15, 20])
    assert store.vectors.raw is ROWS or np.shares_memory(store.vectors.raw, ROWS)
    np.save(tmp_path / "book.npy", ROWS)
    output = tmp_path / "s.safetensors"
    words = ["prepare", str(tmp_path / "book.npy"), "--output", str(output)]
    assert main(words) == 0
    assert "one chain cannot be split; --max-length cuts it" in capsys.readouterr().out
    assert main([*words, "--max-length", "10", "--overwrite"]) == 0
    assert "one chain" not in capsys.readouterr().out
    cut = ChainStore.open(output)
    assert (cut.ids, cut.metadata["max_length"]) == (["book[0:10]", "book[10:20]"], 10)
    np.testing.assert_array_equal(cut.vectors[:], ROWS)
    for wrong in ("1", "0", "-3"):
        output.unlink(missing_ok=True)
        assert main([*words, "--max-length", wrong]) == 2
        assert f"max_length: expected a whole number of at least 2, got {wrong}" in capsys.readouterr().err
        assert not output.exists()


@pytest.mark.parametrize("name", ["v.NPY", "v.NPZ", "v.JSONL", "v.Jsonl.Gz"])
def test_suffixes_count_in_any_case(tmp_path: Path, name: str) -> None:
    if name == "v.NPY":
        with open(tmp_path / name, "wb") as file:
            np.save(file, ROWS)
    elif name == "v.NPZ":
        with open(tmp_path / name, "wb") as file:
            np.savez(file, context_sequences=ROWS[None, :19], target_vectors=ROWS[19:])
    else:
        text = json.dumps({"id": "a", "vectors": ROWS.tolist()}).encode()
        (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith("Gz") else text)
    np.testing.assert_array_equal(read_vectors(tmp_path / name).vectors[:], ROWS)


def test_pieces_are_called_as_no_other_chain_is() -> None:
    store = cut_chains(ChainStore(ROWS, [0, 7, 9, 20], ["a", "a[0:3]", "a["]), 5)
    assert store.ids == ["a[[0:3]", "a[[3:7]", "a[0:3]", "a[[[0:3]", "a[[[3:7]", "a[[[7:11]"]
    assert store.origins == store.ids
    np.testing.assert_array_equal(store.offsets, [0, 3, 7, 9, 12, 16, 20])


@pytest.mark.parametrize("length", [np.int64(5), 5])
def test_the_longest_piece_may_be_a_numpy_number(length: Any) -> None:
    store = cut_chains(ChainStore(ROWS, [0, 20]), length)
    assert repr(store.metadata) == "{'max_length': 5}"
    for wrong in (True, 5.0, "5", np.float32(5)):
        with pytest.raises(ValueError, match="max_length: expected a whole number of at least 2"):
            cut_chains(store, wrong)


@pytest.fixture
def prepared(tmp_path: Path) -> list[str]:
    """A command that writes s.safetensors, beside which texts of an earlier store stand."""
    np.save(tmp_path / "rows.npy", ROWS)
    (tmp_path / "s.chunks.jsonl.gz").write_bytes(b"texts of another store")
    return ["prepare", str(tmp_path / "rows.npy"), "--output", str(tmp_path / "s.safetensors")]


def test_texts_of_another_store_do_not_stay_beside_a_new_one(
    tmp_path: Path, prepared: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(prepared) == 2
    said = "s.chunks.jsonl.gz' exists already; pass overwrite=True (--overwrite) to replace it\n"
    assert capsys.readouterr().err.endswith(said)
    assert not (tmp_path / "s.safetensors").exists()
    assert main([*prepared, "--overwrite"]) == 0
    assert {item.name for item in tmp_path.iterdir()} == {"rows.npy", "s.safetensors"}


def test_a_store_is_replaced_only_when_asked(
    tmp_path: Path, prepared: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*prepared, "--overwrite"]) == 0
    before = (tmp_path / "s.safetensors").read_bytes()
    assert main([*prepared, "--dtype", "int8"]) == 2
    assert "prepare: output = " in (said := capsys.readouterr().err)
    assert "s.safetensors' exists already; pass overwrite=True (--overwrite) to replace it" in said
    assert (tmp_path / "s.safetensors").read_bytes() == before
    assert main([*prepared, "--dtype", "int8", "--overwrite"]) == 0
    assert ChainStore.open(tmp_path / "s.safetensors").vectors.dtype_name == "int8"


def test_what_stood_there_stays_where_the_new_store_cannot_be_written(tmp_path: Path, prepared: list[str]) -> None:
    (tmp_path / "s.safetensors").write_bytes(b"the old store")
    rows = ROWS.copy()
    rows[19] = 0
    np.save(tmp_path / "rows.npy", rows)
    assert main([*prepared, "--overwrite"]) == 2
    assert (tmp_path / "s.safetensors").read_bytes() == b"the old store"
    assert (tmp_path / "s.chunks.jsonl.gz").read_bytes() == b"texts of another store"
    assert {item.name for item in tmp_path.iterdir()} == {"rows.npy", "s.safetensors", "s.chunks.jsonl.gz"}


def test_the_lines_that_are_prepared_are_not_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = write_lines(tmp_path / "s.chunks.jsonl.gz", {"id": "a", "vectors": ROWS.tolist()})
    before = lines.read_bytes()
    command = ["prepare", str(lines), "--output", str(tmp_path / "s.safetensors"), "--overwrite"]
    assert main(command) == 2
    assert "s.chunks.jsonl.gz' is an input too; expected another file" in capsys.readouterr().err
    assert lines.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["s.chunks.jsonl.gz"]


@pytest.mark.parametrize("which", ["input", "offsets"])
@pytest.mark.parametrize("link", ["symbolic", "hard"])
def test_an_input_is_never_written_over(tmp_path: Path, which: str, link: str) -> None:
    np.save(tmp_path / "rows.npy", ROWS)
    np.save(tmp_path / "offsets.npy", [0, 5, 20])
    source = tmp_path / ("rows.npy" if which == "input" else "offsets.npy")
    before = source.read_bytes()
    output = tmp_path / "s.safetensors"
    output.symlink_to(source) if link == "symbolic" else output.hardlink_to(source)
    offsets = ["--offsets", str(tmp_path / "offsets.npy")]
    assert main(["prepare", str(tmp_path / "rows.npy"), "--output", str(output), *offsets, "--overwrite"]) == 2
    assert source.read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_file_name_that_is_no_utf8_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9.npy")
    np.save(path, ROWS)
    read_vectors(path).save(tmp_path / "s")
    store = ChainStore.open(tmp_path / "s")
    assert (store.ids, store.metadata) == (["caf\ufffd"], {"source": "caf\ufffd.npy"})
    output = os.fsencode(tmp_path) + b"/na\xefve.safetensors"
    command = [sys.executable, "-m", "lvm_fast", "prepare", os.fsencode(path), "--output", output]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    assert "na\ufffdve.safetensors: chains=1 rows=20" in result.stdout
    assert ChainStore.open(os.fsdecode(output)).ids == ["caf\ufffd"]

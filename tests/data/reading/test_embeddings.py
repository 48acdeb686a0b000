"""Vectors are read from what other programs wrote. `files/flat.faiss` is FAISS 1.15's."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.prepare import read_vectors

FLAT = Path(__file__).with_name("files") / "flat.faiss"
ROWS = np.arange(1, 25, dtype=np.float32).reshape(6, 4)
CHAINS = ["x", "x", "x", "y", "z", "z"]


def write_parquet(path: Path, rows: Any = ROWS, kind: str = "list", **columns: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    number = pyarrow.from_numpy_dtype(np.asarray(rows[0]).dtype)
    width = -1 if kind == "list" else len(rows[0])
    lists = pyarrow.array([list(row) for row in rows], pyarrow.list_(number, width))
    parquet.write_table(pyarrow.table({"embedding": lists, **columns}), path, row_group_size=2)
    return path


@pytest.mark.parametrize("kind", ["list", "fixed-size list"])
def test_a_column_of_lists_is_rows_and_another_says_the_chains(tmp_path: Path, kind: str) -> None:
    path = write_parquet(tmp_path / "e.parquet", kind=kind, doc=CHAINS)
    store = read_vectors(path, chain_column="doc")
    assert (store.ids, store.offsets.tolist(), store.vectors.dtype_name) == (["x", "y", "z"], [0, 3, 4, 6], "float32")
    np.testing.assert_array_equal(store.vectors[:], ROWS)
    assert read_vectors(path).ids == ["e"]
    np.save(tmp_path / "o.npy", [0, 2, 6])
    assert read_vectors(path, tmp_path / "o.npy").lengths.tolist() == [2, 4]


LANCE = """
import lance, numpy as np, pyarrow, pathlib
from lvm_fast.data.prepare import read_vectors
rows = np.arange(1, 25, dtype=np.float32).reshape(6, 4)
lists = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(rows.ravel()), 4)
lance.write_dataset(pyarrow.table({"vector": lists, "doc": ["x", "x", "x", "y", "z", "z"]}), "e.lance")
store = read_vectors("e.lance", chain_column="doc")
assert (store.ids, store.lengths.tolist()) == (["x", "y", "z"], [3, 1, 2])
np.testing.assert_array_equal(store.vectors[:], rows)
pathlib.Path("no.lance").mkdir()
try:
    read_vectors("no.lance")
except ValueError as error:
    print(error)
"""


def test_a_lance_dataset_is_read_like_a_table(tmp_path: Path) -> None:
    """In a process of its own: once it is imported, Lance warns of every fork."""
    for package in ("lance", "pyarrow"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    done = subprocess.run([sys.executable, "-c", LANCE], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("no.lance: no Lance dataset that can be read")


def test_the_vectors_of_a_flat_index_are_read_in_the_order_of_their_ids(tmp_path: Path) -> None:
    faiss = pytest.importorskip("faiss")
    np.testing.assert_array_equal(read_vectors(FLAT).vectors[:], ROWS)
    index = faiss.IndexHNSWFlat(4, 8)
    index.add(ROWS)
    faiss.write_index(index, str(tmp_path / "h.index"))
    with pytest.raises(ValueError, match=r"h\.index: a IndexHNSWFlat; expected a flat index"):
        read_vectors(tmp_path / "h.index")
    (tmp_path / "bad.faiss").write_bytes(FLAT.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"bad\.faiss: no FAISS index that can be read"):
        read_vectors(tmp_path / "bad.faiss")


def test_an_array_in_an_npz_is_read_with_its_chains(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", embeddings=ROWS, offsets=[0, 3, 4, 6], ids=np.array(["x", "y", "z"]))
    store = read_vectors(tmp_path / "a.npz")
    assert (store.ids, store.lengths.tolist()) == (["x", "y", "z"], [3, 1, 2])
    np.testing.assert_array_equal(store.vectors[:], ROWS)
    np.savez_compressed(tmp_path / "b.npz", ROWS)
    assert read_vectors(tmp_path / "b.npz").ids == ["b"]
    np.savez(tmp_path / "c.npz", here=ROWS, there=2 * ROWS)
    np.testing.assert_array_equal(read_vectors(tmp_path / "c.npz", vector_column="there").vectors[:], 2 * ROWS)
    with pytest.raises(ValueError, match=r"which column holds the vectors\? Say --vector-column; found here, there"):
        read_vectors(tmp_path / "c.npz")
    np.savez(tmp_path / "d.npz", vectors=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_vectors(tmp_path / "d.npz")


@pytest.mark.parametrize(
    ("rows", "columns", "options", "message"),
    [
        ([[1.0, 2.0], [3.0]], {}, {}, "row 1 has 1 numbers; expected 2 as before"),
        ([[1, 2], [3, 4]], {}, {}, "expected floating-point numbers"),
        (ROWS, {}, {"vector_column": "embeding"}, "unknown column 'embeding'; did you mean 'embedding'"),
        (ROWS, {"doc": list("xyxyyy")}, {"chain_column": "doc"}, "the rows of chain 'x' do not follow each other"),
        (ROWS, {"doc": CHAINS}, {"vector_column": "doc"}, "column 'doc' is string; expected lists of numbers"),
        (ROWS.astype(np.float64), {}, {}, "holds float64; say with dtype"),
    ],
)
def test_a_table_that_holds_something_else_is_named(
    tmp_path: Path, rows: Any, columns: dict[str, Any], options: dict[str, str], message: str
) -> None:
    path = write_parquet(tmp_path / "e.parquet", rows, **columns)
    with pytest.raises(ValueError, match=message):
        read_vectors(path, **options)


def test_options_that_do_not_fit_the_file_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", ROWS)
    np.save(tmp_path / "o.npy", [0, 6])
    path = write_parquet(tmp_path / "e.parquet", doc=CHAINS)
    for file, offsets, options, message in (
        (tmp_path / "a.npy", None, {"chain_column": "doc"}, "a chain column goes with"),
        (tmp_path / "a.npy", None, {"vector_column": "doc"}, "a vector column goes with"),
        (path, tmp_path / "o.npy", {"chain_column": "doc"}, "tells its chains itself"),
    ):
        with pytest.raises(ValueError, match=message):
            read_vectors(file, offsets, **options)


def test_a_store_is_made_of_them_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_parquet(tmp_path / "e.parquet", ROWS.astype(np.float64), doc=CHAINS)
    output = tmp_path / "s.safetensors"
    options = ["--output", str(output), "--chain-column", "doc", "--dtype", "float16"]
    assert main(["prepare", str(path), *options]) == 0
    assert "chains=3 rows=6 dim=4 dtype=float16" in capsys.readouterr().out
    np.testing.assert_array_equal(ChainStore.open(output).vectors[:], ROWS)


@pytest.mark.parametrize(("package", "name"), [("faiss", "a.faiss"), ("pyarrow", "a.parquet"), ("lance", "a.lance")])
def test_without_the_extra_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    shutil.copy(FLAT, tmp_path / name)
    with pytest.raises(ImportError, match=r"pip install 'lvm_fast\[vectors\]'"):
        read_vectors(tmp_path / name)

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch

from lvm_fast.data import vectors as vectors_module
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.number_formats import Float32, quantize_int8

Rows = Callable[..., Float32]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
def test_a_store_comes_back_as_it_was_saved(tmp_path: Path, store: ChainStore, dtype: str) -> None:
    path = tmp_path / "s.safetensors"
    store.metadata["split"] = {"seed": 42, "fraction": 0.1}
    store.save(path, dtype)
    back = ChainStore.open(path)
    assert (len(back), back.dim, back.vectors.dtype_name) == (5, 16, dtype)
    assert back.ids == store.ids
    assert back.metadata == store.metadata
    np.testing.assert_array_equal(back.offsets, store.offsets)
    error = np.abs(back.vectors[:] - store.vectors[:]).max()
    assert error <= {"float32": 0, "float16": 3e-4, "bfloat16": 2e-3, "int8": 4e-3}[dtype]
    back.check()


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("name", ["float32", "float16", "bfloat16"])
def test_typed_arrays_are_stored_bit_for_bit(tmp_path: Path, unit_rows: Rows, kind: str, name: str) -> None:
    rows = unit_rows(10)
    typed: Any = rows.astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    expected = typed.astype(np.float32)
    if kind == "torch":
        typed = torch.from_numpy(rows).to(getattr(torch, name))
    ChainStore.write(tmp_path / "s", typed, [0, 10])
    back = ChainStore.open(tmp_path / "s")
    assert back.vectors.dtype_name == name
    np.testing.assert_array_equal(back.vectors[:], expected)


def test_int8_with_scales_is_stored_bit_for_bit(tmp_path: Path, unit_rows: Rows) -> None:
    values, scales = quantize_int8(unit_rows(10))
    ChainStore.write(tmp_path / "s", values, [0, 4, 10], scales=scales)
    back = ChainStore.open(tmp_path / "s").vectors
    np.testing.assert_array_equal(back.raw, values)
    np.testing.assert_array_equal(back.scales, scales)


def test_other_safetensors_readers_open_the_file(tmp_path: Path, store: ChainStore) -> None:
    store.save(tmp_path / "s", "int8")
    tensors = safetensors.numpy.load_file(tmp_path / "s")
    back = ChainStore.open(tmp_path / "s").vectors
    np.testing.assert_array_equal(tensors["vectors"], back.raw)
    np.testing.assert_array_equal(tensors["scales"], back.scales)
    np.testing.assert_array_equal(tensors["offsets"], store.offsets)
    assert back.raw.flags.aligned
    assert back.scales is not None
    assert back.scales.flags.aligned


def test_a_file_of_another_safetensors_writer_opens(tmp_path: Path, unit_rows: Rows) -> None:
    rows = unit_rows(6)
    tensors = {"vectors": rows, "offsets": np.array([0, 2, 6])}
    safetensors.numpy.save_file(tensors, tmp_path / "s", {"source": "elsewhere", "ids": '["x", "y"]', "note": "NaN"})
    store = ChainStore.open(tmp_path / "s")
    np.testing.assert_array_equal(store.vectors[:], rows)
    assert store.ids == ["x", "y"]
    assert store.metadata == {"source": "elsewhere", "note": "NaN"}


def test_opening_maps_and_does_not_read(tmp_path: Path, rng: np.random.Generator) -> None:
    rows = rng.standard_normal((20_000, 64), dtype=np.float32)  # 5 MB
    ChainStore.write(tmp_path / "s", rows, [0, 20_000])
    tracemalloc.start()
    store = ChainStore.open(tmp_path / "s")
    assert tracemalloc.get_traced_memory()[1] < 200_000
    tracemalloc.stop()
    assert not store.vectors.raw.flags.writeable
    np.testing.assert_array_equal(np.asarray(store.vectors), rows)


def test_writing_streams_in_blocks(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors_module, "_BLOCK_BYTES", 1 << 16)
    rows = rng.standard_normal((20_000, 64), dtype=np.float32)
    tracemalloc.start()
    ChainStore.write(tmp_path / "s", rows, [0, 20_000], dtype="int8")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    values, scales = quantize_int8(rows)
    back = ChainStore.open(tmp_path / "s").vectors
    np.testing.assert_array_equal(back.raw, values)
    np.testing.assert_array_equal(back.scales, scales)


def test_a_store_may_be_saved_over_itself(tmp_path: Path, store: ChainStore) -> None:
    store.save(tmp_path / "s")
    opened = ChainStore.open(tmp_path / "s")
    opened.save(tmp_path / "s", "float16")
    np.testing.assert_array_equal(opened.vectors[:], store.vectors[:])
    assert ChainStore.open(tmp_path / "s").vectors.dtype_name == "float16"


@pytest.mark.parametrize("value", ["plain", "2021", "NaN", '"quoted"', "[1", "", 3, 2.5, None, True, ["a"], {"b": [1]}])
def test_metadata_come_back_as_they_were(tmp_path: Path, store: ChainStore, value: Any) -> None:
    store.metadata["key"] = value
    store.save(tmp_path / "s")
    back = ChainStore.open(tmp_path / "s").metadata["key"]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"ids": [7], "a": 1}, r"metadata\['ids'\] is what files call the ids of chains; pass ids instead"),
        ({"origins": "web"}, r"metadata\['origins'\] is what files call the origins of chains"),
        ({1: "a"}, "metadata has the key 1, a int; JSON has texts as keys only"),
        ({"a": {"b": [{2: 3}]}}, r"metadata\['a'\]\['b'\]\[0\] has the key 2"),
        ({"a": {np.int64(2): 3}}, r"metadata\['a'\] has the key 2"),
        ({"shape": (1, 2)}, r"metadata\['shape'\] is a tuple"),
        ({"rows": np.arange(3)}, r"metadata\['rows'\] is a ndarray"),
        ({"when": object()}, r"metadata\['when'\] is a object"),
        ({"loss": [float("inf")]}, r"metadata\['loss'\]\[0\] is inf"),
        ({"text": "\ud83d"}, r"metadata\['text'\] holds half of a surrogate pair, '\\ud83d'"),
        ({"\udc80": 1}, "a key of .*metadata holds half of a surrogate pair"),
        ("text", "metadata is a str; expected values by name"),
        ([("a", 1)], "metadata is a list; expected values by name"),
    ],
)
def test_metadata_that_would_not_come_back_are_refused(
    tmp_path: Path, unit_rows: Rows, metadata: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ChainStore(unit_rows(3), [0, 3], metadata=metadata)
    store = ChainStore(unit_rows(3), [0, 3])
    store.metadata = metadata  # or one by one, later
    with pytest.raises(ValueError, match=message):
        store.save(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_numpys_numbers_in_metadata_become_pythons(tmp_path: Path, unit_rows: Rows) -> None:
    given = {"seed": np.int64(1), "share": np.float32(0.5), "on": np.bool_(True), "in": {"name": [np.str_("x")]}}
    store = ChainStore(unit_rows(3), [0, 3], metadata=given)
    store.metadata["later"] = np.int64(2)
    store.save(tmp_path / "s")
    plain = {"seed": 1, "share": 0.5, "on": True, "in": {"name": ["x"]}, "later": 2}
    assert repr(ChainStore.open(tmp_path / "s").metadata) == repr(plain)


def test_metadata_are_the_stores_own(unit_rows: Rows) -> None:
    given = {"split": {"seed": 1}}
    store = ChainStore(unit_rows(3), [0, 3], metadata=given)
    given["split"]["seed"] = 2
    assert store.metadata == {"split": {"seed": 1}}


def test_metadata_that_other_writers_wrote_stay_text_where_they_can_be_read_in_two_ways(
    tmp_path: Path, unit_rows: Rows
) -> None:
    texts = {"twice": '{"a": 1, "a": 2}', "deep": "[" * 5000 + "]" * 5000, "far": "1e999", "half": '"\\ud83d"'}
    tensors = {"vectors": unit_rows(2), "offsets": np.array([0, 2])}
    safetensors.numpy.save_file(tensors, tmp_path / "s", texts)
    store = ChainStore.open(tmp_path / "s")
    assert store.metadata == texts
    store.save(tmp_path / "again")
    assert ChainStore.open(tmp_path / "again").metadata == texts


def test_origins_come_back_as_they_were_saved(tmp_path: Path, unit_rows: Rows) -> None:
    store = ChainStore(unit_rows(6), [0, 2, 3, 6], ["a#1", "a#2", "b"], origins=["a", "a", "b"])
    store.save(tmp_path / "s")
    assert ChainStore.open(tmp_path / "s").origins == ["a", "a", "b"]
    ChainStore.write(tmp_path / "w", unit_rows(2), [0, 1, 2], ["x", "y"], origins=["z", "z"])
    assert ChainStore.open(tmp_path / "w").origins == ["z", "z"]


def test_a_chain_is_its_own_origin_whatever_its_id_looks_like(tmp_path: Path, unit_rows: Rows) -> None:
    store = ChainStore(unit_rows(6), [0, 2, 3, 6], ["issue#0", "issue#1", "issue"])
    store.save(tmp_path / "s")
    assert store.origins == ChainStore.open(tmp_path / "s").origins == ["issue#0", "issue#1", "issue"]
    with safetensors.safe_open(tmp_path / "s", "numpy") as file:
        assert set(file.metadata()) == {"ids"}


def test_chain_of_steps_over_empty_chains(store: ChainStore) -> None:
    expected = np.repeat(np.arange(5), store.lengths)
    np.testing.assert_array_equal(store.chain_of(np.arange(52)), expected)
    assert store.chain_of(12) == 2


def test_pieces_are_views_where_they_adjoin(store: ChainStore) -> None:
    starts, stops = np.array([3, 12]), np.array([12, 15])
    view = store.pieces(starts, stops, ["x", "y"], {})
    assert np.shares_memory(view.vectors.raw, store.vectors.raw)
    np.testing.assert_array_equal(view.vectors[:], store.vectors[3:15])
    gathered = store.pieces(starts, stops - 1, ["x", "y"], {})
    np.testing.assert_array_equal(gathered.offsets, [0, 8, 10])
    np.testing.assert_array_equal(gathered.vectors[:], store.vectors[[*range(3, 11), 12, 13]])


def test_opening_a_store_needs_no_torch(tmp_path: Path, store: ChainStore) -> None:
    import subprocess

    store.save(tmp_path / "s")
    code = (
        "import sys; import lvm_fast as lf; from lvm_fast.data.windows import Windows; "
        f"s = lf.ChainStore.open({str(tmp_path / 's')!r}); Windows(s, 5).batch([0]); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offsets": [0, 4, 9, 7, 10]}, r"offsets\[3\] = 7 is smaller than offsets\[2\] = 9; expected non-decreasing"),
        ({"offsets": [1, 10]}, r"offsets\[0\] = 1; expected 0"),
        ({"offsets": [0, 9]}, "last of the offsets is 9; expected the number of vectors, 10"),
        ({"offsets": [0, 11]}, "last of the offsets is 11"),
        ({"offsets": [0]}, r"offsets has shape \(1,\)"),
        ({"offsets": [[0, 10]]}, r"offsets has shape \(1, 2\)"),
        ({"offsets": [0.0, 10.0]}, "dtype float64; expected at least 2 integers"),
        ({"ids": ["only one"]}, "1 ids for 2 chains"),
        ({"ids": ["a", "a"]}, "ids holds 'a' 2 times; expected different ids"),
        ({"ids": "ab"}, "ids is not a list of strings"),
        ({"ids": [1, 2]}, "ids is not a list of strings"),
        ({"ids": 5}, "ids is not a list of strings"),
        ({"ids": ["a", "b\ud83d"]}, r"ids\[1\] holds half of a surrogate pair, '\\ud83d', at character 1"),
        ({"origins": ["a"]}, "1 origins for 2 chains"),
        ({"origins": ["a", 1]}, "origins is not a list of strings"),
        ({"origins": ["\ud83d", "a"]}, r"origins\[0\] holds half of a surrogate pair"),
        ({"vectors": np.ma.masked_equal(np.ones((10, 4), np.float32), 2)}, "vectors is a masked array"),
        ({"vectors": torch.ones(10, 4).to_sparse()}, "vectors is no plain tensor"),
        ({"vectors": torch.ones(10, 4, device="meta")}, "vectors is no plain tensor"),
        ({"vectors": np.ones((10, 4))}, "vectors has dtype float64"),
        ({"scales": np.ones(10, np.float32)}, "scales came with float32"),
        ({"dtype": "float64"}, "dtype = 'float64'; expected one of float32"),
        ({"metadata": {"when": object()}}, r"metadata\['when'\] is a object, which JSON would not give back"),
        ({"metadata": {"loss": float("nan")}}, r"metadata\['loss'\] is nan; JSON has no such number"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path: Path, unit_rows: Rows, changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"vectors": unit_rows(10), "offsets": [0, 4, 10], **changes}
    with pytest.raises(ValueError, match=message):
        ChainStore.write(tmp_path / "s", **arguments)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int8"])
@pytest.mark.parametrize(("value", "message"), [(np.nan, "NaN or Inf"), (-np.inf, "NaN or Inf"), (0.0, "all zeros")])
def test_bad_rows_write_nothing(
    tmp_path: Path, unit_rows: Rows, monkeypatch: pytest.MonkeyPatch, dtype: str, value: float, message: str
) -> None:
    monkeypatch.setattr(vectors_module, "_BLOCK_BYTES", 4 * 3 * 16)  # the bad row is in a later block
    rows = unit_rows(10)
    rows[7] = value
    with pytest.raises(ValueError, match=f"row 7 (holds|is) {message}"):
        ChainStore.write(tmp_path / "s", rows, [0, 10], dtype=dtype)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("dtype", "value", "message"), [("float16", 1e6, "holds NaN or Inf"), ("float16", 1e-12, "is all zeros")]
)
def test_rows_that_do_not_fit_the_dtype_are_refused(
    tmp_path: Path, unit_rows: Rows, dtype: str, value: float, message: str
) -> None:
    rows = unit_rows(10)
    rows[3] *= value
    with pytest.raises(ValueError, match=f"rounded to {dtype}: row 3 {message}"):
        ChainStore.write(tmp_path / "s", rows, [0, 10], dtype=dtype)


def test_check_reads_every_row(tmp_path: Path, unit_rows: Rows) -> None:
    rows = unit_rows(10)
    store = ChainStore(rows, [0, 10])
    store.check()
    rows[9] = np.nan
    with pytest.raises(ValueError, match=r"ChainStore.check: vectors: row 9 holds NaN"):
        store.check()


def test_a_zero_int8_row_is_refused() -> None:
    values = np.ones((3, 4), np.int8)
    values[1] = 0
    with pytest.raises(ValueError, match="row 1 is all zeros"):
        ChainStore(values, [0, 3], scales=np.ones(3, np.float32)).check()


def test_the_pieces_of_a_cut_chain_are_one_document():
    origins = ["a", "a", "b", "c", "c", "d"]
    ids = ["a#1", "a#2", "b", "c#1", "c#2", "d"]
    store = ChainStore(np.ones((6, 2), np.float32), np.arange(7), ids, origins=origins)
    assert store.documents_of(np.array([0, 1, 2, 3, 4, 5, 0])).tolist() == [0, 0, 1, 2, 2, 3, 0]
    assert store.documents_of(np.array([5, 3, 4])).tolist() == [1, 0, 0]


def test_documents_are_not_told_apart_by_what_ids_look_like():
    store = ChainStore(np.ones((3, 2), np.float32), np.arange(4), ["issue#0", "issue#1", "issue"])
    assert store.documents_of(np.array([2, 1, 0])).tolist() == [2, 1, 0]


def test_chains_are_taken_by_number_and_by_name(store: ChainStore) -> None:
    for number, name in enumerate(store.ids):
        rows = store.vectors[int(store.offsets[number]) : int(store.offsets[number + 1])]
        for key in (number, number - len(store), np.int64(number), name):
            np.testing.assert_array_equal(store[key], rows)
    assert [len(chain) for chain in store] == [12, 0, 3, 30, 7]
    assert all(np.array_equal(one, other) for one, other in zip(store, map(store.__getitem__, range(5)), strict=True))
    assert ("b" in store, "zebra" in store, 3 in store) == (True, False, False)
    for number in (5, -6):
        with pytest.raises(IndexError, match=f"chain {number}; expected -5 to 4"):
            store[number]
    with pytest.raises(KeyError, match="no chain is called 'zebra'"):
        store["zebra"]
    with pytest.raises(ValueError, match="expected a whole number"):
        store[1.5]  # type: ignore[index]


def test_a_store_shows_itself_in_a_line_and_in_a_notebook(store: ChainStore) -> None:
    assert repr(store) == "ChainStore(5 chains, 52 rows x 16, float32)"
    evil = ChainStore(store.vectors, store.offsets, ["<script>", *store.ids[1:]], {"encoder": "<b>"})
    shown = evil._repr_html_()
    assert "5 chains, 52 vectors of 16 numbers (float32)" in shown
    assert "<tr><td>&lt;script&gt;</td><td>12</td></tr>" in shown
    assert "<p>encoder: &lt;b&gt;</p>" in shown
    many = ChainStore(np.ones((40, 2), np.float32), np.arange(41))
    assert "and 30 more" in many._repr_html_()

"""Ground truth in files: the bank's own answers, whole after a run that was cut off."""

from __future__ import annotations

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.retrieval import topk_run
from lvm_fast.retrieval.topk_run import TopkRun, write_topk


@pytest.fixture
def queries(tmp_path, unit_rows):
    rows = unit_rows(25) * np.float32(3)
    np.save(tmp_path / "queries.npy", rows)
    return rows


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    monkeypatch.setattr(topk_run, "_AT_ONCE", 10)


def read_npz(path):
    with np.load(path, allow_pickle=False) as file:
        assert sorted(file) == ["ids", "scores"]
        return file["scores"], file["ids"]


def read_trec(path):
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    assert [line[1] for line in lines] == ["Q0"] * 175
    assert [line[5] for line in lines] == ["lvm_fast"] * 175
    assert [int(line[0]) for line in lines] == np.repeat(np.arange(25), 7).tolist()
    assert [int(line[3]) for line in lines] == np.tile(np.arange(1, 8), 25).tolist()
    scores = np.array([line[4] for line in lines], np.float32)
    return scores.reshape(25, 7), np.array([line[2] for line in lines], np.int64).reshape(25, 7)


def read_parquet(path):
    table = pytest.importorskip("pyarrow.parquet").read_table(path)
    assert {field.name: str(field.type) for field in table.schema} == {
        "query": "int64", "rank": "int32", "id": "int64", "score": "float",
    }  # fmt: skip
    assert table["query"].to_pylist() == np.repeat(np.arange(25), 7).tolist()
    assert table["rank"].to_pylist() == np.tile(np.arange(1, 8), 25).tolist()
    return table["score"].to_numpy().reshape(25, 7), table["id"].to_numpy().reshape(25, 7)


READERS = {"run.npz": read_npz, "run.trec": read_trec, "RUN.PARQUET": read_parquet}


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("name", READERS)
def test_a_file_holds_what_the_bank_answers(store, queries, tmp_path, name, metric):
    done = write_topk(tmp_path / "queries.npy", store, tmp_path / name, 7, metric=metric)
    assert done == TopkRun(25, 52, 7, metric)
    scores, ids = lf.VectorBank(store.vectors, metric=metric).topk(queries, 7)
    written_scores, written_ids = READERS[name](tmp_path / name)
    np.testing.assert_array_equal(written_ids, ids)
    np.testing.assert_array_equal(written_scores, scores)
    assert written_scores.dtype == np.float32
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted(["queries.npy", name])


@pytest.mark.parametrize("dtype", ["float16", "int8"])
def test_the_chunks_of_a_store_are_queries_as_they_are_stored(store, tmp_path, dtype):
    stored = store.vectors[:]
    rows, scales = (np.rint(100 * stored).astype(np.int8), np.full(52, 0.01, np.float32)) if dtype == "int8" else (
        stored.astype(np.float16), None,
    )  # fmt: skip
    lf.ChainStore.write(tmp_path / "q.safetensors", rows, [0, 52], scales=scales)
    write_topk(tmp_path / "q.safetensors", store, tmp_path / "run.npz", 3)
    scores, ids = lf.VectorBank(store.vectors, True).topk(lf.ChainStore.open(tmp_path / "q.safetensors").vectors, 3)
    np.testing.assert_array_equal(read_npz(tmp_path / "run.npz")[1], ids)
    np.testing.assert_array_equal(read_npz(tmp_path / "run.npz")[0], scores)


@pytest.fixture
def stop_after(monkeypatch):
    """Let so many parts be answered, then the process is interrupted; returns the sizes of the parts asked for."""
    answers = topk_run._answers

    def patch(most):
        sizes = []

        def counted(bank, queries, k):
            if len(sizes) == most:
                raise KeyboardInterrupt
            sizes.append(len(queries))
            return answers(bank, queries, k)

        monkeypatch.setattr(topk_run, "_answers", counted)
        return sizes

    return patch


@pytest.mark.parametrize("name", READERS)
def test_a_run_that_was_cut_off_goes_on_and_ends_in_the_same_bytes(store, queries, tmp_path, stop_after, name):
    write_topk(tmp_path / "queries.npy", store, tmp_path / f"whole {name}", 7)
    (tmp_path / name).write_text("an earlier run")
    stop_after(2)
    with pytest.raises(KeyboardInterrupt):
        write_topk(tmp_path / "queries.npy", store, tmp_path / name, 7, overwrite=True)
    assert (tmp_path / name).read_text() == "an earlier run"
    stop_after(0)
    with pytest.raises(KeyboardInterrupt):
        write_topk(tmp_path / "queries.npy", store, tmp_path / name, 6, overwrite=True)  # other work takes nothing over
    sizes = stop_after(100)
    write_topk(tmp_path / "queries.npy", store, tmp_path / name, 7, overwrite=True)
    assert sizes == [5]
    assert (tmp_path / name).read_bytes() == (tmp_path / f"whole {name}").read_bytes()
    assert not (tmp_path / f"{name}.partial").exists()


def test_parts_are_of_the_same_queries_and_candidates_only(store, queries, tmp_path, stop_after):
    stop_after(1)
    with pytest.raises(KeyboardInterrupt):
        write_topk(tmp_path / "queries.npy", store, tmp_path / "run.npz", 7)
    queries[24, 0] += 1
    np.save(tmp_path / "queries.npy", queries)
    sizes = stop_after(100)
    write_topk(tmp_path / "queries.npy", store, tmp_path / "run.npz", 7)
    assert sizes == [10, 10, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "topk: k: expected a whole number from 1 to 52, got 0"),
        ({"k": 53}, "topk: k: expected a whole number from 1 to 52, got 53"),
        ({"output": "run.txt"}, r"topk: output = 'run.txt'; expected a name ending in .trec, .npz, .parquet"),
        ({"queries": np.ones((2, 5), np.float32)}, "topk: queries: expected vectors of 16 numbers, as in the store"),
        ({"queries": np.ones((2, 16), np.int64)}, "topk: queries: .*vectors has dtype int64"),
        ({"queries": np.ones(16, np.float32)}, r"topk: queries: .*vectors has shape \(16,\)"),
        ({"queries": np.full((12, 16), 1e300)}, "topk: queries: row 0 holds NaN or Inf"),
        ({"queries": np.diag([1.0] * 12 + [0] * 4)}, "topk: queries: row 12 is all zeros"),
        ({"queries": np.diag([1.0] * 12 + [np.nan] * 4), "metric": "ip"}, "topk: queries: row 12 holds NaN"),
    ],
)
def test_mistakes_are_told_before_the_work(store, tmp_path, monkeypatch, change, message):
    monkeypatch.chdir(tmp_path)
    given = {"queries": np.ones((2, 16), np.float32), "output": "run.npz", "k": 3, **change}
    np.save("q.npy", given.pop("queries"))
    with pytest.raises(ValueError, match=message):
        write_topk("q.npy", store, **given)
    assert [item.name for item in tmp_path.iterdir()] == ["q.npy"]


def test_zero_queries_have_inner_products(store, tmp_path):
    np.save(tmp_path / "q.npy", np.zeros((2, 16)))
    write_topk(tmp_path / "q.npy", store, tmp_path / "run.npz", 2, metric="ip")
    assert read_npz(tmp_path / "run.npz")[1].tolist() == [[0, 1], [0, 1]]


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_what_is_no_array_is_no_query(store, tmp_path, content):
    if content is None:
        np.savez(tmp_path / "q", np.ones(3))
        (tmp_path / "q.npz").rename(tmp_path / "q.npy")
    else:
        (tmp_path / "q.npy").write_bytes(content)
    with pytest.raises(ValueError, match=r"topk: queries: .*q\.npy: no \.npy file of numbers"):
        write_topk(tmp_path / "q.npy", store, tmp_path / "run.npz", 2)


def test_no_file_is_replaced_unasked_nor_an_input(store, queries, tmp_path):
    (tmp_path / "run.npz").write_text("mine")
    with pytest.raises(FileExistsError, match=r"topk: output = .*exists already"):
        write_topk(tmp_path / "queries.npy", store, tmp_path / "run.npz", 2)
    (tmp_path / "linked.npz").symlink_to("queries.npy")
    with pytest.raises(ValueError, match="is an input too"):
        write_topk(tmp_path / "queries.npy", store, tmp_path / "linked.npz", 2, overwrite=True)
    assert (tmp_path / "run.npz").read_text() == "mine"


def test_parquet_without_pyarrow_says_what_is_missing(store, queries, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pip install 'lvm_fast\[parquet\]'"):
        write_topk(tmp_path / "queries.npy", store, tmp_path / "run.parquet", 2)

"""Banks larger than the memory they may take: opened in pieces, packed block by block."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest
from oracles import check_everything, fixed_order_scores

import lvm_fast as lf


def scored(x, metric):
    if metric != "cosine":
        return x
    return (x * (1 / np.sqrt(fixed_order_scores(x, x).diagonal()))[:, None]).astype(np.float32)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
@pytest.mark.parametrize("pieces", [1, 2, 5, 20])
def test_pieces_answer_as_the_whole(simd_level, rng, tmp_path, metric, pieces):
    vectors = np.resize(rng.standard_normal((600, 70)), (1001, 70)).astype(np.float32)  # with ties between pieces
    queries = rng.standard_normal((40, 70)).astype(np.float32)
    path = tmp_path / "bank.safetensors"
    lf.VectorBank(vectors, metric=metric).save(path)
    bank = lf.VectorBank.open(path, max_memory=-(-4 * path.stat().st_size // (3 * pieces)))
    assert len(bank._contents.segments) in range(pieces, 2 * pieces + 2)
    scores = fixed_order_scores(scored(queries, metric), scored(vectors, metric), metric)
    check_everything(queries, vectors, scores, bank, rng)
    if metric != "l2":
        whole = lf.VectorBank.open(path)
        np.testing.assert_allclose(bank.logsumexp(queries)[0], whole.logsumexp(queries)[0], rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8])
@pytest.mark.parametrize("build", ["fast", "search"])
@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_packed_block_by_block(rng, tmp_path, monkeypatch, dtype, build, metric):
    monkeypatch.setattr("lvm_fast.retrieval.bank_file._PACKED_ROWS", 1024)
    values = rng.standard_normal((4201, 9)) @ rng.standard_normal((9, 150)) + 0.1 * rng.standard_normal((4201, 150))
    vectors = values.astype(dtype)
    if dtype == np.int8:
        scales = rng.uniform(0.01, 0.02, 4201).astype(np.float32)
        vectors = lf.ChainStore((10 * values).clip(-127, 127).astype(np.int8), [0, 4201], scales=scales).vectors
    lf.VectorBank.pack(tmp_path / "packed.safetensors", vectors, metric=metric, build=build)
    made = lf.VectorBank(vectors, metric=metric, build=build)
    made.save(tmp_path / "saved.safetensors")
    opened = lf.VectorBank.open(tmp_path / "packed.safetensors")
    pieces = lf.VectorBank.open(tmp_path / "packed.safetensors", max_memory=500_000)
    assert len(pieces._contents.segments) > 3
    saved = lf.VectorBank.open(tmp_path / "saved.safetensors")
    for name, array in saved._contents.file.packed.items():
        np.testing.assert_array_equal(opened._contents.file.packed[name], array, err_msg=name)
    queries = values[::300].astype(np.float32)
    for bank in (opened, pieces):
        assert (bank.metric, bank.build) == (metric, build)
        for one, other in zip(bank.topk(queries, 9), made.topk(queries, 9), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(bank.rank(queries, np.arange(15)), made.rank(queries, np.arange(15)))


def test_copies_changes_and_saves_of_pieces(rng, tmp_path):
    vectors, queries = (rng.standard_normal((n, 40)).astype(np.float32) for n in (500, 9))
    path = tmp_path / "bank.safetensors"
    lf.VectorBank.pack(path, vectors)
    bank = lf.VectorBank.open(path, max_memory=20_000)
    scores = fixed_order_scores(queries, vectors)
    for made in (copy.deepcopy(bank), pickle.loads(pickle.dumps(bank))):
        assert len(made._contents.segments) == len(bank._contents.segments) > 4
        check_everything(queries, vectors, scores, made, rng)
    bank.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()
    bank.append(vectors[:10])
    bank.remove(np.arange(0, 500, 2))
    left = np.concatenate([vectors, vectors[:10]])[bank.ids]
    bank.save(path)
    check_everything(queries, left, fixed_order_scores(queries, left), lf.VectorBank.open(path, max_memory=30_000), rng)


def test_bad_ways_to_pack_and_open(rng, tmp_path, monkeypatch):
    monkeypatch.setattr("lvm_fast.retrieval.bank_file._PACKED_ROWS", 32)
    vectors, path = rng.standard_normal((100, 8)).astype(np.float32), tmp_path / "bank.safetensors"
    lf.VectorBank.pack(path, vectors)
    for most, message in ((100, "expected at least .* bytes, got 100"), (0, "expected a whole number")):
        with pytest.raises(ValueError, match=f"VectorBank.open: .*max_memory: {message}"):
            lf.VectorBank.open(path, max_memory=most)
    vectors[70, 3] = np.nan
    with pytest.raises(ValueError, match=r"VectorBank\.pack: vectors: row 70 holds NaN"):
        lf.VectorBank.pack(tmp_path / "other.safetensors", vectors)
    assert [file.name for file in tmp_path.iterdir()] == ["bank.safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="measured with Linux's means")
def test_no_more_of_the_file_is_in_memory_than_was_asked_for(run_python, tmp_path):
    code = """
import re, threading, numpy as np, lvm_fast as lf
rng = np.random.default_rng(0)
path = PATH
lf.VectorBank.pack(path, rng.standard_normal((100_000, 256), dtype=np.float32))  # 154 MB
def mapped():  # bytes of files in this process's memory
    return 1024 * int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1])
def most(max_memory):
    before, done, seen = mapped(), threading.Event(), []
    bank = lf.VectorBank.open(path, max_memory=max_memory)
    def watch():
        while not done.is_set():
            seen.append(mapped())
            done.wait(0.001)
    watcher = threading.Thread(target=watch)
    watcher.start()
    answers = [bank.topk(queries, 5)[1], bank.rank(queries, np.arange(64))]
    done.set()
    watcher.join()
    seen.append(mapped())
    return max(seen) - before, answers
queries = rng.standard_normal((64, 256)).astype(np.float32)
limited, answers = most(32 << 20)
free, expected = most(None)
assert limited < 32 << 20, limited
assert free > 48 << 20, free
assert all((a == b).all() for a, b in zip(answers, expected))
"""
    done = run_python(f"PATH = {str(tmp_path / 'bank.safetensors')!r}\n{code}")
    assert done.returncode == 0, done.stderr

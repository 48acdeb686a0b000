"""`lvm-fast topk`: ground truth at the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main


def test_the_best_of_every_query(finished, tmp_path, capsys):
    data, output = str(finished / "chains.safetensors"), str(tmp_path / "run.npz")
    store = lf.ChainStore.open(data)
    np.save(tmp_path / "q.npy", store.vectors[5:9])
    assert main(["topk", str(tmp_path / "q.npy"), data, "--k", "3", "--output", output]) == 0
    assert capsys.readouterr().out == f"{output}: queries=4 candidates=480 k=3 cosine\n"
    with np.load(output) as file:
        np.testing.assert_array_equal(file["ids"], lf.VectorBank(store.vectors, True).topk(store.vectors[5:9], 3)[1])


def test_json_and_a_store_as_queries(finished, tmp_path, capsys):
    data, output = str(finished / "chains.safetensors"), str(tmp_path / "run.trec")
    assert main(["topk", data, data, "-k", "1", "--metric", "ip", "--output", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "output": output, "queries": 480, "candidates": 480, "k": 1, "metric": "ip",
    }  # fmt: skip
    lines = (tmp_path / "run.trec").read_text().splitlines()
    assert [line.split()[2] for line in lines] == [str(row) for row in range(480)]  # each is nearest to itself


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "run.csv"], "topk: output = 'run.csv'; expected a name ending in .trec, .npz, .parquet"),
        (["--output", "run.npz", "-k", "0"], "topk: k: expected a whole number from 1 to 480, got 0"),
        (["--output", "run.npz", "--device", "tpu"], "VectorBank: device = 'tpu'; expected one of auto"),
        (["--output", "nowhere/run.npz"], "No such file or directory"),
    ],
)
def test_a_mistake_is_one_line(finished, tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    data = str(finished / "chains.safetensors")
    assert main(["topk", data, data, *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert list(tmp_path.iterdir()) == []


def test_a_killed_run_goes_on(tmp_path):
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((20_000, 32), dtype=np.float32)
    lf.ChainStore.write(tmp_path / "store.safetensors", rows, [0, 20_000])
    command = [sys.executable, "-m", "lvm_fast", "topk", "store.safetensors", "store.safetensors", "-k", "4"]
    command += ["--output", "run.npz"]
    env = {**os.environ, "LVM_FAST_NUM_THREADS": "1"}
    killed = subprocess.Popen(command, cwd=tmp_path, env=env)
    partial = tmp_path / "run.npz.partial"
    deadline = time.monotonic() + 120
    while not (partial.exists() and len(list(partial.glob("[!.]*"))) >= 2) and time.monotonic() < deadline:
        time.sleep(0.001)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in partial.glob("[!.]*")}
    assert len(kept) >= 2
    assert not (tmp_path / "run.npz").exists()
    assert subprocess.run(command, cwd=tmp_path, env=env, timeout=300, capture_output=True).returncode == 0
    with np.load(tmp_path / "run.npz") as file:
        np.testing.assert_array_equal(file["ids"], lf.VectorBank(rows, True).topk(rows, 4)[1])

"""A bank spread over 4 processes answers as one bank does, and an error on one process stops all."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed as dist

import lvm_fast as lf
from lvm_fast.retrieval.sharded import ShardedBank

WORKER = Path(__file__).with_name("sharded_worker.py")
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")


@pytest.fixture(scope="module")
def worker() -> Any:
    spec = importlib.util.spec_from_file_location("sharded_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What 4 processes found."""
    path = tmp_path_factory.mktemp("sharded")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "LVM_FAST_NUM_THREADS": "1"}
    command = [*torchrun, str(WORKER), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings, cwd=path, timeout=300)
    assert done.returncode == 0, done.stderr
    return path


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("normalize", [False, True])
def test_four_processes_give_the_numbers_of_one_bank(folder: Path, worker: Any, normalize: bool) -> None:
    expected = worker.answers(lf.VectorBank(worker.questions()[0], normalize))
    assert len(set(expected["rank None"].tolist())) > 20
    for here in range(4):
        check(dict(np.load(folder / f"answers-{normalize}-{here}.npz")), expected)


def test_so_do_the_two_of_a_group(folder: Path, worker: Any) -> None:
    expected = worker.answers(lf.VectorBank(worker.questions()[0]))
    for here in (1, 3):
        check(dict(np.load(folder / f"pair-{here}.npz")), expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_so_does_one_process_alone(worker: Any, normalize: bool) -> None:
    vectors = worker.questions()[0]
    check(worker.answers(ShardedBank(vectors, 0, normalize)), worker.answers(lf.VectorBank(vectors, normalize)))


# the process at fault (None: all), what it is told, and what the others are
ERRORS = {
    "a row with NaN": (
        3,
        "ValueError: VectorBank: vectors: row 0",
        "ValueError: ShardedBank: process 3 failed: VectorBank",
    ),
    "no shard": (
        1,
        "ValueError: VectorBank: vectors: expected at least one row",
        "process 1 failed: VectorBank: vectors",
    ),
    "overlap": (None, "ValueError: ShardedBank: first_id: a shard begins at 60; expected 61, one end to end", ""),
    "negative": (
        0,
        "ValueError: ShardedBank: first_id = -1; expected a whole number",
        "process 0 failed: ShardedBank: first",
    ),
    "other width": (None, "ValueError: ShardedBank: shards of (D, metric) = (24, 'ip') and (23, 'ip')", ""),
    "queries of other width": (
        1,
        "rank: queries: expected 24 columns like the bank, got 23",
        "rank: process 1 failed: ",
    ),
    "other queries": (None, "ValueError: ShardedBank.rank: process 1 asks something else than process 0", ""),
    "other filters": (None, "ValueError: ShardedBank.topk: process 1 asks something else than process 0", ""),
    "a bad filter": (3, "rank: allow: expected truth values (211,)", "rank: process 3 failed: ShardedBank.rank: allow"),
    "other targets": (None, "ValueError: ShardedBank.rank: process 3 asks something else than process 0", ""),
    "other calls": (None, "process 2 asks something else than process 0; expected the same", ""),
    "target": (None, "ValueError: ShardedBank.rank: targets[0] = ", ""),
    "targets": (None, "ValueError: ShardedBank.rank: targets: expected shape (41,), got (40,)", ""),
    "k": (None, "ValueError: ShardedBank.topk: k: expected 1 to 211 (the bank's size), got 212", ""),
    "pickle": (None, "TypeError: ShardedBank: expected one process that holds all candidates to pickle it", ""),
    "NaN query": (None, "ShardedBank.topk: queries: row 0 holds NaN", ""),
    "in the middle": (2, "RuntimeError: out of luck", "RuntimeError: ShardedBank.rank: process 2 failed: out of luck"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_on_one_process_is_raised_on_all(folder: Path, name: str) -> None:
    culprit, own, others = ERRORS[name]
    for here in range(4):
        told = json.loads((folder / f"errors-{here}.json").read_text())[name]
        assert (own if culprit in (None, here) else others) in told


def test_after_errors_the_processes_are_in_step(folder: Path, worker: Any) -> None:
    vectors, queries, targets = worker.questions()
    expected = str(lf.VectorBank(vectors).rank(queries, targets).tolist())
    for here in range(4):
        told = json.loads((folder / f"errors-{here}.json").read_text())
        assert told["and then"] == told["copied"] == expected
        assert told["one query"] == json.dumps(json.loads(expected)[7])
        assert told["outsider"] == (
            "no error" if here in (1, 3) else "ValueError: ShardedBank: group: this process is not in it"
        )
        ids = f"ids {worker.EDGES[here]} to {worker.EDGES[here + 1] - 1} here"
        assert told["repr"] == f"ShardedBank(211 x 24, normalize=True, {ids})"
        assert told["len"] == "211"

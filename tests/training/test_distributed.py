"""Two processes train as one does: gradients, memory, scores, and the files of a whole run."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist

from lvm_fast.cli import main
from lvm_fast.ops import runtime
from lvm_fast.training import distributed, fit
from lvm_fast.training.distributed import DistributedContext, distributed_context

WORKER = Path(__file__).with_name("distributed_worker.py")
pytestmark = pytest.mark.skipif(not dist.is_available(), reason="torch was built without torch.distributed")

TRAIN = [
    *("train", "--context-length", "8", "--stride", "2", "--val-fraction", "0.25", "--pool", "store"),
    *("--batch-size", "8", "--accumulation-steps", "2", "--lr", "3e-3", "--device", "cpu", "--no-tensorboard"),
    *("--model", "hidden_dim=12", "num_layers=2", "memory_slots=8", "dropout=0.0", "--infonce-batch", "effective"),
    *("--infonce-queue", "40", "--infonce-candidates", "10", "--alpha-infonce", "0.5", "--negatives", "prediction"),
    *("--enable-soft-negatives", "--soft-negative-cosine-range", "-0.5", "0.9", "--negatives-limit", "3"),
]


def torchrun(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *words]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "LVM_FAST_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings, cwd=cwd, timeout=300)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def worker():
    spec = importlib.util.spec_from_file_location("distributed_worker", WORKER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(store, tmp_path_factory):
    """What 2 processes found."""
    path = tmp_path_factory.mktemp("distributed")
    store.save(path / "store.safetensors")
    torchrun(str(WORKER), str(path), cwd=path)
    return path


def test_gradients_memory_and_loss_are_those_of_one_process(folder, store, worker):
    expected = worker.steps(store, DistributedContext(torch.device("cpu")))
    for rank in range(2):
        found = dict(np.load(folder / f"steps-{rank}.npz"))
        assert found.keys() == expected.keys()
        assert len(found) == 4 * len(worker.SETTINGS) * len(worker.GROUPS)
        for name, value in expected.items():
            if name.endswith("names"):
                assert list(found[name]) == value
                continue
            error = np.linalg.norm(found[name] - value) / np.linalg.norm(value)
            assert error < 1e-6, f"process {rank}, {name}: off by {error:.1e}"


def test_both_processes_end_with_the_same_memory_bit_for_bit(folder):
    first, second = (dict(np.load(folder / f"steps-{rank}.npz")) for rank in range(2))
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def test_scores_are_those_of_one_process(folder, store, worker):
    expected = worker.scores(store, DistributedContext(torch.device("cpu")))
    assert len(set(expected.values())) > 1
    assert [facts(folder, rank)["scores"] for rank in range(2)] == [expected, expected]


def facts(folder, rank):
    return json.loads((folder / f"facts-{rank}.json").read_text())


def test_every_item_is_one_process_s(folder):
    assert [facts(folder, rank)["share"] for rank in range(2)] == [[0, 2, 4, 6], [1, 3, 5]]


def test_what_the_first_process_says_all_hear(folder):
    first, second = (facts(folder, rank)["told"] for rank in range(2))
    assert first.pop("random") != second.pop("random")  # dropout of its own
    assert first == second
    assert first == {
        "result": "process 0",
        "no value": "ValueError: no value",
        "[Errno 17] there already: 'run'": "OSError: [Errno 17] there already: 'run'",
        "disk full": "OSError: disk full",
        "words": "2 processes (cpu)",
    }


def test_a_run_of_two_processes_is_that_of_one(folder, capsys):
    store = ["--data", str(folder / "store.safetensors")]
    assert main([*TRAIN, *store, "--output-dir", str(folder / "one"), "--epochs", "2"]) == 0
    alone = capsys.readouterr().out
    two = [*TRAIN, *store, "--output-dir", "two", "--epochs"]
    done = torchrun("-m", "lvm_fast", *two, "1", cwd=folder)
    assert done.stdout.count("TRAINING COMPLETE") == 1
    words = [*TRAIN, *store, "--output-dir", str(folder / "two"), "--epochs", "2", "--resume"]
    torchrun("--no-python", str(Path(sys.executable).with_name("lvm-fast")), *words, cwd=clone(folder))

    names = sorted(path.name for path in (folder / "one").iterdir())
    assert sorted(path.name for path in (folder / "two").iterdir()) == names
    first, second = (json.loads((folder / name / "training_history.json").read_text()) for name in ("one", "two"))
    assert first["untrained"] == second["untrained"]
    assert [row["epoch"] for row in second["epochs"]] == [1, 2]
    for mine, theirs in zip(first["epochs"], second["epochs"], strict=True):
        assert (mine["step"], mine["lr"], mine["pool"]) == (theirs["step"], theirs["lr"], theirs["pool"])
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-4)
        assert mine["hit5"] == pytest.approx(theirs["hit5"], abs=2.0)
    started = "started in {} on {}"
    assert started.format(folder / "one", "cpu") in alone
    assert started.format("two", "2 processes (cpu)") in done.stdout
    rows = [json.loads(line) for line in (folder / "two" / "metrics.jsonl").read_text().splitlines()]
    steps = [row["step"] for row in rows if row["kind"] == "step"]
    assert steps == list(range(1, second["epochs"][-1]["step"] + 1))


def clone(folder):
    """A folder whose sources would hide the installed package from `python -m`."""
    sources = folder / "clone" / "lvm_fast"
    sources.mkdir(parents=True)
    (sources / "__init__.py").write_text("raise AssertionError('the sources were imported')")
    return sources.parent


def test_more_processes_than_forward_passes_are_refused(recipe, tmp_path, monkeypatch):
    processes = DistributedContext(torch.device("cpu"))
    processes.world_size = 3
    monkeypatch.setattr(fit, "distributed_context", lambda device: nullcontext(processes))
    with pytest.raises(ValueError, match="accumulation_steps = 2; expected at least 3, a forward pass a process"):
        fit.train(recipe())
    assert not (tmp_path / "run").exists()


def test_alone_nothing_is_joined(monkeypatch):
    monkeypatch.setattr(dist, "init_process_group", None)
    with distributed_context("cpu") as processes:
        assert (processes.rank, processes.world_size, processes.is_rank_zero) == (0, 1, True)
        assert str(processes) == "cpu"
        assert list(processes.shard([3, 4])) == [3, 4]


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("mps", "device = 'mps' with 2 processes: MPS has no collectives.*--device cpu"),
        ("cuda", "device = 'cuda': process 2 of this machine; expected one a GPU, here 1"),
    ],
)
def test_devices_that_cannot_work_together(monkeypatch, device, message):
    monkeypatch.setattr(distributed, "choose_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message), distributed_context(device):
        pass
    assert not dist.is_initialized()


def test_processes_of_a_machine_share_its_threads(monkeypatch, restore_threads):
    runtime.set_num_threads(4)
    monkeypatch.delenv("LVM_FAST_NUM_THREADS", raising=False)
    monkeypatch.setattr(dist, "init_process_group", lambda backend: None)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: None)
    for name, value in {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with distributed_context("cpu"):
        assert runtime.num_threads() == 2
    assert runtime.num_threads() == 4

"""Faults on purpose: kills, full disks, folders that vanish, clocks that go back, two at once. Nothing is lost."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import kills
import pytest

SAVES = [name for name, job in kills.JOBS.items() if job.replaces]
GOING_ON = [name for name, job in kills.JOBS.items() if not job.replaces]
NEEDS = {"export": "coremltools", "coreai": "coreai_torch"}
MANY = int(os.environ.get("LVM_FAST_KILLS", "10"))  # a release takes 120 of each job: more than a thousand
FULL = r"File too large|No space left"
pytestmark = [
    pytest.mark.filterwarnings("ignore:export_core.*untrained"),
    pytest.mark.filterwarnings(
        "ignore::pytest.PytestUnraisableExceptionWarning"
    ),  # coremltools' own files on full disks
]


@pytest.fixture
def old(tmp_path: Path) -> Callable[[str], tuple[Path, dict[str, str]]]:
    """old(job): a folder with what the job saved of its first version, and its state."""

    def make(name: str) -> tuple[Path, dict[str, str]]:
        pytest.importorskip(NEEDS.get(name, "numpy"))
        folder = tmp_path / "place"
        folder.mkdir()
        kills.JOBS[name].run(folder, 0)
        return folder, kills.state_of(folder, name)

    return make


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow past `size` bytes: writes then fail in the kernel, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.slow
@pytest.mark.parametrize("name", kills.JOBS)
def test_a_kill_at_any_moment_loses_nothing(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    words = [name, str(MANY), str(tmp_path / "place"), "1"]
    done = subprocess.run([sys.executable, kills.__file__, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["killed"] == MANY
    assert told["old or new"] == told["killed"] + told["ended first"]


@pytest.mark.parametrize("name", SAVES)
def test_on_a_full_disk_the_old_one_stays_whatever_the_write(name, old):
    folder, state = old(name)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    for part in (0, 3, 7) if name in NEEDS else range(8):
        with largest_file(largest * part // 8), pytest.raises(OSError, match=FULL):
            kills.JOBS[name].run(folder, 1)
        assert kills.state_of(folder, name) == state
        assert kills.left_in(folder) == []


@pytest.mark.parametrize("name", GOING_ON)
def test_after_a_full_disk_the_work_goes_on_to_the_same_end(name, old):
    folder, state = old(name)
    largest = max(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    shutil.rmtree(folder)
    folder.mkdir()
    for part in (1, 4, 7):
        with largest_file(largest * part // 8), pytest.raises(OSError, match=FULL):
            kills.JOBS[name].run(folder, 0)
        assert kills.left_in(folder) == []
    kills.JOBS[name].run(folder, 0)
    assert kills.state_of(folder, name) == state


@pytest.mark.slow
@pytest.mark.parametrize("name", SAVES)
def test_two_processes_that_save_at_once_leave_one_whole(name, tmp_path):
    pytest.importorskip(NEEDS.get(name, "numpy"))
    words = [name, "together", str(tmp_path / "place"), "1"]
    done = subprocess.run([sys.executable, kills.__file__, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == {"job": name, "saves": 16}


@pytest.mark.parametrize("name", [name for name in SAVES if name not in ("model", "router")])
def test_a_folder_that_is_gone_is_an_error_that_names_the_file(name, old):
    folder, _ = old(name)
    shutil.rmtree(folder)
    with pytest.raises(OSError, match="place"):
        kills.JOBS[name].run(folder, 1)
    assert not folder.exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("name", SAVES)
def test_a_folder_that_cannot_be_written_keeps_what_it_holds(name, old):
    folder, state = old(name)
    folders = [path for path in (folder, *folder.rglob("*")) if path.is_dir()]
    for path in folders:
        path.chmod(0o555)
    try:
        with pytest.raises(PermissionError, match="place"):
            kills.JOBS[name].run(folder, 1)
    finally:
        for path in folders:
            path.chmod(0o755)
    assert kills.state_of(folder, name) == state


@pytest.mark.parametrize("name", GOING_ON)
def test_a_clock_that_goes_back_changes_nothing(name, old, monkeypatch):
    folder, state = old(name)
    shutil.rmtree(folder)
    folder.mkdir()
    now = iter(range(2_000_000_000, 0, -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    kills.JOBS[name].run(folder, 0)
    assert kills.state_of(folder, name) == state


def test_the_kills_find_a_save_that_is_not_whole(tmp_path, monkeypatch):
    """The check itself: a job that writes into the file in place is found."""

    def in_place(folder: Path, version: int) -> None:
        with open(folder / "it.txt", "w") as file:
            for _ in range(20):
                file.write(str(version))
                file.flush()
                time.sleep(0.005)

    monkeypatch.setitem(kills.JOBS, "in place", kills.Job(in_place))
    with pytest.raises(SystemExit, match="neither the old nor the new"):
        kills.main("in place", 20, tmp_path, 1)

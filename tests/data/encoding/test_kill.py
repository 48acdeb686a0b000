"""A killed encoding loses at most the batch in work, whenever it is killed; several processes write what one does."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.encode import encode_documents
from lvm_fast.data.encoding import partial_folder
from lvm_fast.data.encoding.partial_folder import PartialFolder
from lvm_fast.data.source import chunks_path

SCRIPT = Path(__file__).with_name("slow_encoder.py")


@pytest.fixture(scope="module")
def slow() -> ModuleType:
    spec = importlib.util.spec_from_file_location("slow_encoder", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def whole(slow: ModuleType, tmp_path: Path) -> tuple[bytes, bytes]:
    """The store and the texts that an undisturbed run writes."""
    output = tmp_path / "whole" / "s.safetensors"
    output.parent.mkdir()
    encode_documents(slow.DOCUMENTS, slow.SlowEncoder(output.with_name("asked"), 0), output)
    return files_of(output)


def files_of(output: Path) -> tuple[bytes, bytes]:
    return output.read_bytes(), chunks_path(output).read_bytes()


def asked(folder: Path) -> list[str]:
    return [line for path in sorted(folder.glob("asked*")) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("batches", [1, 9, 30])
def test_a_run_killed_at_any_moment_goes_on_where_it_was(
    slow: ModuleType, whole: tuple[bytes, bytes], tmp_path: Path, batches: int
) -> None:
    output = tmp_path / "s.safetensors"
    run = subprocess.Popen([sys.executable, str(SCRIPT), str(output), "0.05"], env=one_thread())
    while len(asked(tmp_path)) < 7 * batches:
        assert run.poll() is None
        time.sleep(0.005)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not output.exists()
    before = len(asked(tmp_path))
    encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked-0", 0), output)
    assert files_of(output) == whole
    assert 300 <= len(asked(tmp_path)) <= 300 + 7  # the batch in work, at most
    assert before >= 7 * batches
    assert {item.name for item in tmp_path.iterdir()} == {"whole", "s.safetensors", "s.chunks.jsonl.gz", "asked-0"}


class Killed(BaseException):
    pass


STEPS = [(partial_folder.os, "replace", 1), (partial_folder.os, "replace", 2), (PartialFolder, "forget", 1)]


@pytest.mark.parametrize(("owner", "name", "nth"), STEPS)
def test_a_kill_while_the_files_get_their_names_is_made_good(
    slow: ModuleType,
    whole: tuple[bytes, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    nth: int,
) -> None:
    """The last steps are one rename after the other: whatever was done, the next run ends with both files."""
    output = tmp_path / "s.safetensors"
    real, calls = getattr(owner, name), []

    def kill(*given: Any) -> Any:
        is_ours = owner is PartialFolder or Path(given[0]).parent.name == "s.safetensors.partial"
        is_last = owner is PartialFolder or Path(given[1]).parent == tmp_path
        calls.append(is_ours and is_last)
        if sum(calls) == nth and calls[-1]:
            raise Killed
        return real(*given)

    monkeypatch.setattr(owner, name, kill)
    monkeypatch.setattr(PartialFolder, "_tidy", lambda self: None)
    with pytest.raises(Killed):
        encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output)
    monkeypatch.undo()
    before = len(asked(tmp_path))
    if output.exists():
        with pytest.raises(FileExistsError):
            encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output)
        encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output, append=True)
    else:
        encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output)
    assert len(asked(tmp_path)) == before  # nothing is encoded again
    assert files_of(output) == whole
    assert not (tmp_path / "s.safetensors.partial").exists()


def test_two_runs_never_share_a_store(slow: ModuleType, tmp_path: Path) -> None:
    output = tmp_path / "s.safetensors"
    with (
        PartialFolder(output).claimed(),
        pytest.raises(BlockingIOError, match=r"another process is encoding to this store: .*s\.safetensors\.partial"),
    ):
        encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output)
    assert len(encode_documents(slow.DOCUMENTS, slow.SlowEncoder(tmp_path / "asked", 0), output)) == 10
    assert not (tmp_path / "s.safetensors.partial").exists()


def test_two_processes_write_what_one_does(whole: tuple[bytes, bytes], tmp_path: Path) -> None:
    pytest.importorskip("torch.distributed")
    output = tmp_path / "s.safetensors"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(SCRIPT), str(output), "0"], capture_output=True, text=True, env=one_thread(), timeout=300
    )
    assert done.returncode == 0, done.stderr
    shares = [len((tmp_path / f"asked-{rank}").read_text().splitlines()) for rank in (0, 1)]
    assert sum(shares) == 300
    assert min(shares) > 100
    assert files_of(output) == whole
    assert ChainStore.open(output).lengths.tolist() == [30] * 10


def one_thread() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "LVM_FAST_NUM_THREADS": "1"}

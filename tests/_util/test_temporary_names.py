"""What killed processes left beside a file or folder goes with the next save; what is in use stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lvm_fast._util import atomic_files, temporary_names
from lvm_fast._util.atomic_files import (
    atomic_folder,
    atomic_write_text,
    check_folder_writable,
    check_writable,
)
from lvm_fast._util.exchange import exchange
from lvm_fast._util.temporary_names import set_aside

SAVE = """
import sys, time
from pathlib import Path
from lvm_fast._util.atomic_files import atomic_folder, atomic_path
from lvm_fast._util.temporary_names import set_aside
how, target = sys.argv[1:]
with {"file": atomic_path, "folder": atomic_folder, "aside": set_aside}[how](target) as place:
    if how != "aside":
        (place / "part" if how == "folder" else place).write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def names_in(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


@pytest.fixture
def saving(tmp_path: Path):
    """saving(how, target): a process in the middle of a save."""
    running = []

    def start(how: str, target: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", SAVE, how, str(target)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        running.append(process)
        assert process.stdout
        assert process.stdout.readline() == "writing\n"
        return process

    yield start
    for process in running:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    with process:
        process.send_signal(signal.SIGKILL)


def save_folder(target: Path) -> None:
    with atomic_folder(target, overwrite=True) as folder:
        (folder / "part").write_text("whole")


NEXT: list[tuple[str, Callable[[Path], None], set[str]]] = [
    ("file", lambda target: atomic_write_text(target, "whole"), {"it.txt"}),
    ("file", check_writable, set()),
    ("folder", save_folder, {"it.txt"}),
    ("folder", check_folder_writable, set()),
]


@pytest.mark.parametrize(("how", "save", "there"), NEXT)
def test_the_next_save_or_start_removes_what_a_killed_save_left(saving, tmp_path, how, save, there):
    target = tmp_path / "it.txt"
    for process in [saving(how, target), saving(how, target)]:
        kill(process)
    assert len(names_in(tmp_path)) == 2
    save(target)
    assert names_in(tmp_path) == there


@pytest.mark.parametrize(("how", "save", "there"), NEXT)
def test_what_a_live_process_writes_stays(saving, tmp_path, how, save, there):
    target = tmp_path / "it.txt"
    process = saving(how, target)
    (temporary,) = names_in(tmp_path)
    save(target)
    assert names_in(tmp_path) == {temporary, *there}
    kill(process)
    save(target)
    assert names_in(tmp_path) == there


def test_other_names_stay(tmp_path):
    others = {
        ".0badcafe.other.txt",
        ".0badcafe.it.txt.gz",
        ".0badcaf.it.txt",
        "0badcafe.it.txt",
        ".it.txt",
        ".0BADCAFE.it.txt",
    }
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".0badcafe.it.txt").touch()
    atomic_write_text(tmp_path / "it.txt", "whole")
    assert names_in(tmp_path) == {"it.txt", *others}


def test_a_link_that_looks_like_a_leftover_is_not_followed(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").touch()
    (tmp_path / ".0badcafe.it.txt").symlink_to(outside)
    atomic_write_text(tmp_path / "it.txt", "whole")
    assert names_in(outside) == {"mine"}


def test_a_file_system_without_locks_keeps_what_may_be_in_use(tmp_path, monkeypatch):
    def refuse(handle: int, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(temporary_names.fcntl, "flock", refuse)
    (tmp_path / ".0badcafe.it.txt").touch()
    atomic_write_text(tmp_path / "it.txt", "whole")
    assert names_in(tmp_path) == {"it.txt", ".0badcafe.it.txt"}


def test_a_temporary_file_that_another_process_took_for_left_is_made_again(tmp_path, monkeypatch):
    made = []

    def make_and_lose(path: Path) -> None:
        made.append(path)
        if len(made) > 1:
            path.touch()

    with temporary_names.held_beside(tmp_path / "it.txt", make_and_lose) as temporary:
        assert temporary == made[1]
    assert len(made) == 2


def test_what_is_set_aside_goes_with_the_block_and_comes_back_if_it_raises(tmp_path: Path) -> None:
    old = tmp_path / "old.gz"
    with set_aside(old):  # there is none
        (tmp_path / "new").write_text("")
    old.write_text("old")

    def fail() -> None:
        with set_aside(old):
            assert not old.exists()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert old.read_text() == "old"
    with set_aside(old):
        pass
    assert names_in(tmp_path) == {"new"}


def test_what_a_killed_process_had_set_aside_comes_back(saving, tmp_path):
    place = tmp_path / "texts"
    place.write_text("old")
    process = saving("aside", place)
    check_writable(place)  # a save beside it leaves it alone
    assert len(names_in(tmp_path)) == 1
    kill(process)
    with pytest.raises(KeyError), set_aside(place):
        raise KeyError
    assert names_in(tmp_path) == {"texts"}
    assert place.read_text() == "old"


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_folder_takes_the_place_of_what_was_there(tmp_path, monkeypatch, exchanges, is_folder):
    if not exchanges:
        monkeypatch.setattr(atomic_files, "exchange", lambda new, target: False)
    target = tmp_path / "it.txt"
    save_folder(target) if is_folder else target.write_text("a file")
    save_folder(target)
    assert names_in(tmp_path) == {"it.txt"}
    assert (target / "part").read_text() == "whole"


def test_two_names_change_places_in_one_step(tmp_path):
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").mkdir()
    if not exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system cannot")
    assert (tmp_path / "b").read_text() == "one"
    assert (tmp_path / "a").is_dir()
    with pytest.raises(FileNotFoundError, match="missing"):
        exchange(tmp_path / "missing", tmp_path / "a")

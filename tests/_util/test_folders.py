"""Folders that processes do not share."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from lvm_fast._util.folders import locked_folder, new_folder


def test_new_folders_get_numbers_where_the_name_is_taken(tmp_path):
    (tmp_path / "a-2").write_text("a file")
    assert [new_folder(tmp_path / "a").name for _ in range(3)] == ["a", "a-3", "a-4"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["a", "a-3", "a-4"]


def test_threads_that_ask_at_once_get_folders_of_their_own(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(new_folder(tmp_path / "a"))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 12


def test_a_held_folder_is_refused_and_leaves_no_trace(tmp_path):
    with locked_folder(tmp_path, wait=False):
        with (
            pytest.raises(BlockingIOError, match="another process works in this folder"),
            locked_folder(tmp_path, wait=False),
        ):
            pass
        assert not list(tmp_path.iterdir())
    with locked_folder(tmp_path, wait=False):
        pass


def test_a_killed_process_frees_its_folder(tmp_path):
    code = f"""
from lvm_fast._util.folders import locked_folder
with locked_folder({str(tmp_path)!r}, wait=False):
    print("held", flush=True)
    input()
"""
    command, pipe = [sys.executable, "-c", code], subprocess.PIPE
    holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), locked_folder(tmp_path, wait=False):
        pass
    holder.kill()
    holder.wait(60)
    holder.stdin.close()
    holder.stdout.close()
    with locked_folder(tmp_path, wait=False):
        pass


def test_a_file_is_no_folder_to_hold(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), locked_folder(tmp_path / "file", wait=False):
        pass

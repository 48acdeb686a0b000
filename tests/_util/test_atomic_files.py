from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lvm_fast._util import atomic_files
from lvm_fast._util.atomic_files import (
    atomic_folder,
    atomic_path,
    atomic_write_text,
    check_folder_writable,
    check_holds_no_input,
    check_not_an_input,
    check_output,
    check_room,
    check_writable,
    made_folder,
)


@contextmanager
def full_disk(allowed: int) -> Iterator[None]:
    """Let no file grow past `allowed` bytes: writes then fail in the kernel, as on a full disk."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (allowed, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def names_in(folder: Path) -> set[str]:
    return {item.name for item in folder.iterdir()}


def test_atomic_path_replaces_the_file_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".npz"
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert names_in(tmp_path) == {"a.npz"}


def test_atomic_path_keeps_the_old_file_when_the_block_raises(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        write_half()
    assert target.read_text() == "old"
    assert names_in(tmp_path) == {"a.txt"}


def test_atomic_path_writes_through_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.txt"
    link.symlink_to(tmp_path / "real" / "a.txt")
    atomic_write_text(link, "hello")
    assert link.is_symlink()
    assert (tmp_path / "real" / "a.txt").read_text() == "hello"


@pytest.mark.parametrize(
    ("name", "error"), [("missing/a.txt", FileNotFoundError), ("file/a.txt", NotADirectoryError), ("", OSError)]
)
def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, name: str, error: type[OSError]) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / name
    with pytest.raises(error) as caught:
        atomic_write_text(target, "text")
    assert caught.value.filename == str(target)
    assert names_in(tmp_path) == {"file"}


def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Any, *args: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match="cannot save") as caught:
        atomic_write_text(tmp_path / "a.txt", "text")
    assert caught.value.filename == str(tmp_path / "a.txt")


def test_a_folder_where_none_can_be_made_is_named_beforehand(tmp_path: Path) -> None:
    check_folder_writable(tmp_path / "a.folder")
    (tmp_path / "a.folder").mkdir()
    check_folder_writable(tmp_path / "a.folder")  # to be replaced
    assert names_in(tmp_path) == {"a.folder"}
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="cannot save") as caught:
        check_folder_writable(tmp_path / "file" / "a.folder")
    assert caught.value.filename == str(tmp_path / "file" / "a.folder")


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with full_disk(1000), pytest.raises(OSError, match="cannot save") as caught:
        atomic_write_text(tmp_path / "a.txt", "x" * 100_000)
    assert caught.value.filename == str(tmp_path / "a.txt")
    assert names_in(tmp_path) == set()


def test_room_is_tried_before_it_is_needed_and_given_back(tmp_path: Path) -> None:
    check_room(tmp_path, 3_000_000)
    assert names_in(tmp_path) == set()
    with full_disk(2_000_000):
        check_room(tmp_path, 2_000_000)
        with pytest.raises(OSError, match="File too large"):
            check_room(tmp_path, 2_000_001)
    assert names_in(tmp_path) == set()


def test_a_full_disk_in_a_save_within_a_save_is_named_once(tmp_path: Path) -> None:
    with (
        full_disk(1000),
        pytest.raises(OSError, match=r"\] cannot save: (?!cannot)") as caught,
        atomic_path(tmp_path / "outer.txt"),
    ):
        atomic_write_text(tmp_path / "inner.txt", "x" * 100_000)
    assert caught.value.filename == str(tmp_path / "inner.txt")
    assert names_in(tmp_path) == set()


def test_other_errors_of_the_block_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught, atomic_path(tmp_path / "a.txt"):
        (tmp_path / "input.txt").read_text()
    assert caught.value.filename == str(tmp_path / "input.txt")


def test_atomic_folder_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "model.mlpackage"
    with atomic_folder(target) as temporary:
        assert temporary.suffix == ".mlpackage"
        (temporary / "inner").mkdir()
        (temporary / "inner" / "a").write_text("1")
        assert not target.exists()
    assert (target / "inner" / "a").read_text() == "1"
    assert names_in(tmp_path) == {"model.mlpackage"}


def test_atomic_folder_refuses_to_replace_unless_told(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(FileExistsError, match="overwrite=True"), atomic_folder(target):
        pass
    assert names_in(target) == {"old"}
    with atomic_folder(target, overwrite=True) as temporary:
        (temporary / "new").write_text("")
    assert names_in(target) == {"new"}
    assert names_in(tmp_path) == {"model"}


def test_atomic_folder_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("a file")
    with atomic_folder(tmp_path / "model", overwrite=True) as temporary:
        (temporary / "new").write_text("")
    assert names_in(tmp_path) == {"model"}
    assert names_in(tmp_path / "model") == {"new"}


@pytest.mark.parametrize("moment", ["block", "rename"])
def test_atomic_folder_keeps_the_old_folder_on_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").write_text("")
    rename = Path.rename

    def fail_for_new_content(self: Path, other: Path) -> Path:
        if moment == "rename" and (self / "new").exists():
            raise OSError(errno.EIO, "broken disk")
        return rename(self, other)

    def replace() -> None:
        with atomic_folder(target, overwrite=True) as temporary:
            (temporary / "new").write_text("")
            if moment == "block":
                raise OSError(errno.EIO, "broken disk")

    monkeypatch.setattr(Path, "rename", fail_for_new_content)
    monkeypatch.setattr(atomic_files, "exchange", lambda new, target: False)  # where a system has none
    with pytest.raises(OSError, match="broken disk"):
        replace()
    assert names_in(target) == {"old"}
    assert names_in(tmp_path) == {"model"}


def test_made_folder_takes_back_only_what_it_made_and_is_empty(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with made_folder(tmp_path / "there" / "a" / "b") as folder:
        assert folder.is_dir()
    for place in ("there/c/d", "there/a/b", "there/a"):
        with pytest.raises(RuntimeError), made_folder(tmp_path / place):
            raise RuntimeError
    assert names_in(tmp_path / "there") == {"a"}
    assert names_in(tmp_path / "there" / "a") == {"b"}

    def fail_later() -> None:
        with made_folder(tmp_path / "new" / "full") as folder:
            (folder / "file").write_text("mine")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_later()
    assert names_in(tmp_path / "new" / "full") == {"file"}


def test_check_writable_leaves_nothing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new")
    (tmp_path / "old").write_text("old")
    check_writable(tmp_path / "old")
    assert names_in(tmp_path) == {"old"}
    assert (tmp_path / "old").read_text() == "old"
    with pytest.raises(OSError, match=r"missing/s'$"):
        check_writable(tmp_path / "missing" / "s")
    with pytest.raises(OSError, match="expected a file to write, found a folder"):
        check_writable(tmp_path)


@pytest.fixture
def aliases(tmp_path: Path) -> dict[str, Path]:
    """Names of one file, and beside it another file of the same content."""
    source = tmp_path / "deep" / "source.txt"
    source.parent.mkdir()
    source.write_text("mine")
    (tmp_path / "link").symlink_to(source)
    (tmp_path / "twice").symlink_to("link")
    (tmp_path / "folder").symlink_to("deep")
    (tmp_path / "hard").hardlink_to(source)
    (tmp_path / "copy").write_text("mine")
    names = ("link", "twice", "hard", "folder/source.txt", "deep/../deep/source.txt", "copy")
    return {"source": source, **{name: tmp_path / name for name in names}}


def test_an_input_is_known_by_all_its_names(aliases: dict[str, Path], tmp_path: Path) -> None:
    source = aliases.pop("source")
    copy = aliases.pop("copy")
    check_not_an_input(copy, "out", [source])
    check_not_an_input(tmp_path / "new", "out", [source, tmp_path / "missing"])
    with pytest.raises(ValueError, match=r"^out = '.*source\.txt' is an input too; expected another file$"):
        check_not_an_input(source, "out", [copy, source])
    for alias in aliases.values():
        for path, given in ((source, alias), (alias, source)):
            with pytest.raises(ValueError, match=rf"^out = '{path}' is an input too, '{given}'; expected another file"):
                check_not_an_input(path, "out", [given])


def test_a_name_in_another_case_is_the_same_where_the_file_system_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.txt").write_text("")
    exists, samefile = os.path.exists, os.path.samefile
    monkeypatch.setattr(os.path, "exists", lambda path: exists(os.fspath(path).lower()))
    monkeypatch.setattr(os.path, "samefile", lambda a, b: samefile(os.fspath(a).lower(), os.fspath(b).lower()))
    with pytest.raises(ValueError, match=r"A\.TXT' is an input too"):
        check_not_an_input(tmp_path / "A.TXT", "out", [tmp_path / "a.txt"])


def test_a_folder_to_replace_holds_no_input(aliases: dict[str, Path], tmp_path: Path) -> None:
    source = aliases["source"]
    (tmp_path / "other").mkdir()
    check_holds_no_input(tmp_path / "other", "out", [source])
    check_holds_no_input(tmp_path / "new", "out", [source, tmp_path / "missing"])
    for folder in (tmp_path, tmp_path / "deep", tmp_path / "folder"):
        for given in (source, aliases["link"], tmp_path / "deep"):
            with pytest.raises(ValueError, match=rf"^out = '{folder}' holds '{given}', an input; expected another$"):
                check_holds_no_input(folder, "out", [given])


def test_a_file_is_replaced_only_when_asked(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text("old")
    with pytest.raises(FileExistsError, match=r"^out = '.*old' exists already; pass overwrite=True \(--overwrite\) to"):
        check_output(old, "out")
    check_output(old, "out", overwrite=True)
    check_output(tmp_path / "new", "out", [old])
    with pytest.raises(ValueError, match="is an input too"):
        check_output(old, "out", [old], overwrite=True)
    with pytest.raises(IsADirectoryError, match="found a folder"):
        check_output(tmp_path, "out", [old], overwrite=True)
    with pytest.raises(FileNotFoundError, match="missing"):
        check_output(tmp_path / "missing" / "a", "out")
    assert names_in(tmp_path) == {"old"}
    assert old.read_text() == "old"


def test_a_device_is_no_file_to_write(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes in folders")
    os.mkfifo(tmp_path / "pipe")
    for write in (check_writable, lambda path: atomic_write_text(path, "text")):
        with pytest.raises(FileExistsError, match="expected a plain file to write, found a device"):
            write(tmp_path / "pipe")
    assert names_in(tmp_path) == {"pipe"}

"""Parts of long work: kept when it is cut off, taken over, gone when it is done."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from lvm_fast._util.folders import locked_folder
from lvm_fast._util.kept_parts import kept_parts

INT = np.dtype(np.int64)


def doubled(first, last):
    return 2 * np.arange(first, last)


def cut_off(output, error, digest="d", parts_made=1):
    """Work of 10 rows that fails after some parts."""
    with kept_parts(output, digest, 10, 4, INT, "work") as parts:
        assert parts.missing == [0, 4, 8]
        for _ in zip(range(parts_made), parts.make(doubled), strict=False):
            pass
        raise error


def test_parts_are_made_once_and_removed_at_the_end(tmp_path):
    with kept_parts(tmp_path / "out", "d", 10, 4, INT, "work") as parts:
        assert parts.missing == [0, 4, 8]
        assert list(parts.make(doubled)) == [4, 4, 2]
        assert {first: part.tolist() for first, part in parts} == {0: [0, 2, 4, 6], 4: [8, 10, 12, 14], 8: [16, 18]}
        assert len(list((tmp_path / "out.partial").iterdir())) == 3
    assert list(tmp_path.iterdir()) == []


def test_what_was_cut_off_goes_on(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        cut_off(tmp_path / "out", KeyboardInterrupt)
    with pytest.raises(KeyError):
        cut_off(tmp_path / "out", KeyError, "other work", 0)
    with kept_parts(tmp_path / "out", "d", 10, 4, INT, "work") as parts:
        assert parts.missing == [4, 8]
        list(parts.make(doubled))
        assert np.concatenate([part for _, part in parts]).tolist() == doubled(0, 10).tolist()


def test_work_that_fails_before_its_first_part_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        cut_off(tmp_path / "out", KeyError, parts_made=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [lambda file: file[:-1], lambda file: b"", lambda file: b"no array"])
def test_a_damaged_part_is_named(tmp_path, damage):
    with pytest.raises(KeyError):
        cut_off(tmp_path / "out", KeyError)
    (part,) = (tmp_path / "out.partial").iterdir()
    part.write_bytes(damage(part.read_bytes()))
    message = f"work: .*{part.name}: damaged; expected 4 rows of an earlier run"
    with pytest.raises(ValueError, match=message), kept_parts(tmp_path / "out", "d", 10, 4, INT, "work"):
        pass


def test_one_process_at_a_time(tmp_path):
    code = "import sys; from lvm_fast._util.kept_parts import *; import numpy as np\n"
    code += "with kept_parts(sys.argv[1], 'd', 4, 4, np.dtype(int), 'work'): pass"
    (tmp_path / "out.partial").mkdir()
    with locked_folder(tmp_path / "out.partial", wait=False):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "out")],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "BlockingIOError" in done.stderr
    assert "another process works in this folder" in done.stderr

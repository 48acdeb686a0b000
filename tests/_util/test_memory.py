from __future__ import annotations

import os
from pathlib import Path

from lvm_fast._util import memory


def test_a_control_group_allows_less_than_the_machine_has(tmp_path, monkeypatch):
    (tmp_path / "small").write_text("1000000\n")
    (tmp_path / "none").write_text("max\n")
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for files, limit in ((("absent",), whole), (("none",), whole), (("none", "small"), 1_000_000)):
        monkeypatch.setattr(memory, "_CONTROL_GROUP_LIMITS", tuple(str(Path(tmp_path, name)) for name in files))
        assert memory.memory_limit() == limit

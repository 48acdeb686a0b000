from __future__ import annotations

import pytest

from lvm_fast._util.paths import expanded


def test_a_tilde_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert [expanded(path, "x") for path in ("~", "~/a/~b", "a/~", "./~a", "/~")] == [
        *("/home/me", "/home/me/a/~b", "a/~", "./~a", "/~"),
    ]


def test_a_home_folder_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"^output_dir = '~nobody-at-all/x': there is no home folder ~nobody-at-all; "):
        expanded("~nobody-at-all/x", "output_dir")

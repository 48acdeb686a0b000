from __future__ import annotations

import io
import sys

import pytest

from lvm_fast._util.terminal import is_terminal, progress_bar


class Teletype(io.StringIO):
    def isatty(self) -> bool:
        return True


class Bare:
    """A stream that can only write."""

    def write(self, text: str) -> int:
        return len(text)


def closed() -> io.StringIO:
    stream = Teletype()
    stream.close()
    stream.isatty = io.StringIO.isatty.__get__(stream)  # raises ValueError, as a closed file does
    return stream


@pytest.mark.parametrize(("stream", "watched"), [(Teletype(), True), (io.StringIO(), False), (None, False)])
def test_who_watches(stream, watched):
    assert is_terminal(stream) is watched


@pytest.mark.parametrize("stream", [Bare(), closed(), None, object()])
def test_a_stream_that_cannot_tell_is_watched_by_nobody(monkeypatch, stream):
    assert not is_terminal(stream)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3, "step") as bar:
        bar.update()
    assert bar.disable


@pytest.mark.parametrize(("shown", "is_shown"), [(None, True), (True, True), (False, False)])
def test_a_bar_is_shown_on_a_terminal_and_where_it_is_asked_for(monkeypatch, shown, is_shown):
    monkeypatch.setattr(sys, "stderr", Teletype())
    with progress_bar(3, "step", shown) as bar:
        bar.update()
    assert ("step" in sys.stderr.getvalue()) is is_shown
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(3, "step", shown) as bar:
        bar.update()

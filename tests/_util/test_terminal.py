from __future__ import annotations

import io
import sys
from types import ModuleType, SimpleNamespace

import pytest

from lvm_fast._util import terminal
from lvm_fast._util.terminal import is_terminal, progress_bar, terminal_width, verbosity


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
def test_a_stream_that_cannot_tell_is_watched_by_nobody_and_breaks_nothing(monkeypatch, stream):
    assert not is_terminal(stream)
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(terminal, "LINE_SECONDS", 0.0)
    with progress_bar(3, "step") as bar:
        bar.update()
        bar.refresh()
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


class Clock:
    """A time that goes on by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    """The time that bars go by."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    monkeypatch.setattr(terminal, "time", clock)
    return clock


def go(bar, clock, steps, count, seconds):
    for _ in range(steps):
        clock.now += seconds
        bar.update(count)


def test_without_a_terminal_a_plain_line_tells_speed_and_time_left_every_30_seconds(clock, capsys):
    with progress_bar(5000, "chunk") as bar:
        go(bar, clock, 29, 20, 1.0)
        assert capsys.readouterr().err == ""
        go(bar, clock, 1, 20, 1.0)
        assert capsys.readouterr().err == "600 of 5,000 chunks, 20.0 chunks/s, 0:03:40 left\n"
        go(bar, clock, 60, 20, 1.0)
    assert capsys.readouterr().err.splitlines() == [
        "1,200 of 5,000 chunks, 20.0 chunks/s, 0:03:10 left",
        "1,800 of 5,000 chunks, 20.0 chunks/s, 0:02:40 left",
    ]


def test_the_speed_is_of_what_this_run_does(clock, capsys):
    with progress_bar(1000, "step", initial=900, desc="again") as bar:
        bar.set_postfix_str("loss=0.5", refresh=False)
        go(bar, clock, 1, 50, 100.0)
    assert capsys.readouterr().err == "again: 950 of 1,000 steps, 0.5 steps/s, 0:01:40 left, loss=0.5\n"


def test_quiet_says_nothing_and_verbose_a_line_a_second(clock, capsys):
    with verbosity(-1), progress_bar(100, "step") as bar:
        go(bar, clock, 2, 1, 60.0)
    assert capsys.readouterr().err == ""
    with verbosity(1), progress_bar(100, "step") as bar:
        go(bar, clock, 3, 1, 1.0)
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_has_a_bar(monkeypatch, has_widgets):
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "ipywidgets", ModuleType("ipywidgets") if has_widgets else None)
    made = []
    monkeypatch.setitem(sys.modules, "tqdm.notebook", SimpleNamespace(tqdm_notebook=lambda **given: made.append(given)))
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    bar = progress_bar(5, "step")
    if has_widgets:
        assert (bar, made[0]["total"]) == (None, 5)
    else:
        bar.update(5)
        bar.close()
        assert "5/5" in sys.stderr.getvalue()


def test_output_is_as_wide_as_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "57")
    monkeypatch.setattr(sys, "stdout", Teletype())
    assert terminal_width() == 57
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal_width() == 100

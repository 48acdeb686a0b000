"""Standard output and error as a command needs them: there, writable whatever the encoding, quiet when nobody reads."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

BROKEN_PIPE = 128 + 13  # the exit code of a program that SIGPIPE ends


class Output:
    """A text stream that never fails: what it cannot write it drops, and remembers why.

    Characters that the encoding lacks become escapes, such as ``\\u2026``.

    Attributes:
        failure: The first error of the stream below; None while all is well.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.failure is None:
            try:
                self._write(text)
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)
            except (AttributeError, ValueError):  # nothing to flush, or closed
                pass

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
        except UnicodeEncodeError as error:
            self._stream.write(text.encode(error.encoding, "backslashreplace").decode(error.encoding))

    def _give_up(self, error: OSError) -> None:
        """Send what is still buffered to nowhere: Python would complain of it at the very end."""
        self.failure = error
        with suppress(OSError, AttributeError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def standard_streams() -> Iterator[Output]:
    """Make the standard streams fit to be used while the block runs, and give standard output.

    A stream that the caller has closed leads nowhere: else the next file that is opened would take its number.
    """
    before = sys.stdin, sys.stdout, sys.stderr
    with ExitStack() as opened:
        for number, name in enumerate(("stdin", "stdout", "stderr")):
            if getattr(sys, name) is None:
                _occupy(number)
                mode = "w" if number else "r"
                setattr(sys, name, opened.enter_context(open(os.devnull, mode, encoding="utf-8")))
        output = Output(sys.stdout)
        sys.stdout, sys.stderr = output, Output(sys.stderr)
        try:
            yield output
        finally:
            output.flush()
            sys.stderr.flush()
            sys.stdin, sys.stdout, sys.stderr = before


def exit_code(code: int, output: Output) -> int:
    """The exit code of a command that ended with `code`, once its output is out."""
    output.flush()
    if code or output.failure is None:
        return code
    if output.failure.errno == errno.EPIPE:
        return BROKEN_PIPE
    print(f"lvm-fast: error: standard output: {output.failure.strerror}", file=sys.stderr)
    return 2


def _occupy(number: int) -> None:
    """Open nothing under a file number, unless it is taken."""
    try:
        os.fstat(number)
    except OSError:
        nowhere = os.open(os.devnull, os.O_RDWR)
        if nowhere != number:
            os.dup2(nowhere, number)
            os.close(nowhere)

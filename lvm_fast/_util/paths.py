"""Paths as people write them: `~` is the home folder, in a recipe and on the command line alike."""

from __future__ import annotations

import os


def expanded(path: str, called: str) -> str:
    """Return the path with a leading `~` or `~name` replaced by that home folder; a shell does so only for bare words.

    Raises:
        ValueError: There is no such home folder; the message begins with `called`.
    """
    full = os.path.expanduser(path)
    if full.startswith("~"):
        user = path.partition("/")[0]
        raise ValueError(f"{called} = {path!r}: there is no home folder {user}; a name in this folder is ./{path}")
    return full

"""Texts from outside, which may hold what is no Unicode: a file name that is no UTF-8, half of an emoji in JSON."""

from __future__ import annotations

import os


def check_unicode(text: str, called: str) -> None:
    """Raise ValueError, which begins with `called`, where a text holds half of a surrogate pair: it has no UTF-8."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(
            f"{called} holds half of a surrogate pair, {half!a}, at character {error.start}; expected Unicode text"
        ) from None


def unicode_text(name: str | os.PathLike[str]) -> str:
    """Return a name in Unicode: U+FFFD stands where its bytes are no UTF-8, or half of a surrogate pair is."""
    return os.fspath(name).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")

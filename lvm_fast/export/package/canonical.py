"""Messages of a package as plain values: walked through, and digested alike by every version of protobuf."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SCALARS = (str, bytes, bool, int, float)


def messages_in(message: Any) -> Iterator[Any]:
    """A protobuf message and all messages inside it."""
    yield message
    for _, value in message.ListFields():
        for inner in _inner(value):
            yield from messages_in(inner)


def digest_of(message: Any) -> str:
    """SHA-256 (64 hex digits) of the fields that a message has, and those inside it; entries of maps by key."""
    digest = hashlib.sha256()
    for part in _parts(message):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def has_unknown_fields(message: Any) -> bool:
    """Whether a message, or one inside it, has a field that its format does not know."""
    known = type(message)()
    known.CopyFrom(message)
    known.DiscardUnknownFields()
    return bool(known.ByteSize() != message.ByteSize())


def _inner(value: Any) -> Iterable[Any]:
    """The messages that a field holds."""
    if isinstance(value, _SCALARS):
        return ()
    if hasattr(value, "ListFields"):
        return (value,)
    return [item for item in (value.values() if isinstance(value, Mapping) else value) if hasattr(item, "ListFields")]


def _parts(value: Any) -> Iterator[bytes]:
    """A value as pieces of bytes, other pieces for every other value."""
    if isinstance(value, str | bytes):
        yield b"text"
        yield value.encode() if isinstance(value, str) else value
    elif isinstance(value, float):
        yield struct.pack("<d", value)
    elif isinstance(value, int):
        yield str(int(value)).encode()
    elif hasattr(value, "ListFields"):
        for field, inner in value.ListFields():
            yield f"field {field.number}".encode()
            yield from _parts(inner)
        yield b"end"
    else:
        items = sorted(value.items()) if isinstance(value, Mapping) else value
        yield f"{len(value)} items".encode()
        for item in items:
            for part in item if isinstance(value, Mapping) else (item,):
                yield from _parts(part)

"""Finds what in a checkpoint cannot be read safely, and under which key, without running any of it."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .._util.torch_compat import allowed_in_checkpoints

_DEEPEST = 50
_NO_NUMBERS = ("O", "M", "m", "V")  # the first letters of numpy's dtypes of objects, times and records
_PLAIN = "numbers, text, lists, dicts, tensors or numpy arrays of numbers"


def foreign_contents(path: Path, harmless: set[str]) -> str | None:
    """Say what `torch.load(weights_only=True)` refuses in a file, and the keys that lead to it; None if unknown.

    Args:
        path: A file of `torch.save`.
        harmless: The classes and functions, by their full names, that may be in it beside those that torch allows.
    """
    try:
        whole = _read(path, harmless | allowed_in_checkpoints())
    except Exception:  # a damaged file can raise almost anything
        return None
    for keys, what in _foreign_in(whole, ()):
        where = f"the key {'.'.join(map(str, keys))!r}" if keys else "it"
        return f"{where} holds {what}; expected {_PLAIN}"
    return None


def _read(path: Path, allowed: set[str]) -> Any:
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as file:
                return _Reader(file, allowed).load()
    with path.open("rb") as file:  # torch's older format: three pickles about the system come first
        return [_Reader(file, allowed).load() for _ in range(4)][-1]


class _StandIn:
    """In the place of every object of the file: it takes all that a pickle does to one, and does nothing."""

    name = ""  # the full name of the class or function that it stands for
    is_allowed = True

    def __new__(cls, *given: Any) -> _StandIn:
        made = super().__new__(cls)
        made.given = list(given)
        return made

    given: list[Any]

    def __setstate__(self, state: Any) -> None:
        self.given.append(state)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.given.append(value)

    def append(self, value: Any) -> None:
        self.given.append(value)

    add = append

    def extend(self, values: Any) -> None:
        self.given.extend(values)


class _Reader(pickle.Unpickler):
    """Reads a pickle's structure; no class or function that it names is looked up."""

    def __init__(self, file: Any, allowed: set[str]) -> None:
        super().__init__(file)
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OrderedDict
        return type("_StandIn", (_StandIn,), {"name": full, "is_allowed": full in self._allowed})

    def persistent_load(self, pid: Any) -> Any:
        return None  # the numbers of a tensor


def _foreign_in(value: Any, keys: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], str]]:
    """Every refused object within a value: the keys that lead to it, and what it is."""
    if len(keys) > _DEEPEST:
        return
    kind = value if isinstance(value, type) else type(value)
    if issubclass(kind, _StandIn):
        if not kind.is_allowed:
            yield keys, f"{kind.name}, a class or function that could run code"
        elif isinstance(value, _StandIn) and kind.name == "numpy.dtype" and value.given[0][:1] in _NO_NUMBERS:
            yield keys, f"numpy data of dtype {value.given[0]!r}"
        elif isinstance(value, _StandIn):
            for item in value.given:
                for part in item if isinstance(item, tuple) else (item,):
                    yield from _foreign_in(part, keys)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _foreign_in(item, (*keys, key))
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _foreign_in(item, (*keys, place))

"""Prepares the next items of an iterator in a thread while the caller works on one."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from typing import TypeVar

Item = TypeVar("Item")
_LOOK_UP = 0.1  # seconds between looks whether anybody still reads


def read_ahead(items: Iterable[Item], depth: int = 4) -> Iterator[Item]:
    """Give the items in order, up to `depth` of them made ahead by a thread; an error of theirs is raised here."""
    waiting: Queue[tuple[bool, Item | BaseException | None]] = Queue(depth)
    is_read = threading.Event()
    is_read.set()

    def put(is_item: bool, value: Item | BaseException | None) -> None:
        while is_read.is_set():
            try:
                return waiting.put((is_item, value), timeout=_LOOK_UP)
            except Full:
                continue

    def fill() -> None:
        error = None
        try:
            for item in items:
                put(True, item)
                if not is_read.is_set():
                    return
        except BaseException as problem:
            error = problem
        put(False, error)

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    try:
        yield from _taken(waiting)
    finally:
        is_read.clear()
        thread.join()


def _taken(waiting: Queue[tuple[bool, Item | BaseException | None]]) -> Iterator[Item]:
    while True:
        try:
            is_item, value = waiting.get(timeout=_LOOK_UP)  # Ctrl-C is heard in between
        except Empty:
            continue
        if isinstance(value, BaseException) and not is_item:
            raise value
        if not is_item:
            return
        yield value  # type: ignore[misc]  # an item, as is_item says

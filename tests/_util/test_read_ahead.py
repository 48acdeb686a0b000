from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from lvm_fast._util.read_ahead import read_ahead


def test_the_items_come_in_order() -> None:
    assert list(read_ahead(range(50), depth=3)) == list(range(50))
    assert list(read_ahead([None, None])) == [None, None]
    assert list(read_ahead([])) == []


def test_some_items_are_made_ahead_in_another_thread() -> None:
    made: list[int] = []
    enough = threading.Event()

    def items() -> Iterator[int]:
        for item in range(10):
            made.append(item)
            if item == 3:
                enough.set()
            yield item

    ahead = read_ahead(items(), depth=2)
    assert next(ahead) == 0
    assert enough.wait(30)  # 0 is out, 1 and 2 wait, 3 waits for room
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    assert list(ahead) == list(range(1, 10))


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("bad item")

    ahead = read_ahead(items())
    assert next(ahead) == 1
    with pytest.raises(ValueError, match="bad item"):
        next(ahead)


def test_an_item_may_be_an_error_itself() -> None:
    error = ValueError("an item")
    assert list(read_ahead([error])) == [error]


def test_a_reader_who_leaves_ends_the_thread() -> None:
    before = threading.active_count()
    ahead = read_ahead(iter(range(10**9)))
    next(ahead)
    ahead.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before

from __future__ import annotations

import pytest

from lvm_fast.data.encoding import batches
from lvm_fast.data.encoding.batches import length_batches, sorted_batches

TEXTS = ["a " * count for count in (3, 9, 1, 9, 30, 2, 2)]


def tokens(texts: list[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def test_texts_alike_in_length_share_a_batch_of_so_many_tokens() -> None:
    assert list(sorted_batches(TEXTS, tokens, 18, 99)) == [[4], [1, 3], [0, 5, 6, 2]]
    assert list(sorted_batches(TEXTS, tokens, 18, 3)) == [[4], [1, 3], [0, 5, 6], [2]]


def test_only_the_texts_of_a_window_are_sorted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "WINDOW", 3)
    asked = []

    def count(texts: list[str]) -> list[int]:
        asked.append(len(texts))
        return tokens(texts)

    assert list(sorted_batches(TEXTS, count, 18, 99)) == [[1, 0], [2], [4], [3, 5], [6]]
    assert asked == [3, 3, 1]


@pytest.mark.parametrize("most_tokens", [1, 7, 64])
@pytest.mark.parametrize("most_texts", [1, 2, 50])
def test_no_batch_is_larger_than_allowed_and_none_is_empty(most_tokens: int, most_texts: int) -> None:
    counts = sorted([5, 1, 1, 0, 3, 9, 9, 2, 7, 1, 0, 0, 64], reverse=True)
    cut = list(length_batches(counts, most_tokens, most_texts))
    assert [place for batch in cut for place in batch] == list(range(len(counts)))
    for batch in cut:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or len(batch) * counts[batch[0]] <= most_tokens


def test_no_texts_make_no_batches() -> None:
    assert list(sorted_batches([], tokens, 8, 8)) == []

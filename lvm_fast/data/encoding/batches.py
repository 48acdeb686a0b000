"""The batches that texts are encoded in: alike in length, so that little is padded, and the same in every run.

A batch depends on the texts before it alone, never on what is encoded already or on how many processes there are:
products of matrices of another shape would round otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

WINDOW = 4096  # texts that are sorted by length together


def sorted_batches(
    texts: Sequence[str], count_tokens: Callable[[list[str]], list[int]], most_tokens: int, most_texts: int
) -> Iterator[list[int]]:
    """Deal texts into batches, window by window, the longest texts of a window first.

    Args:
        texts: N texts.
        count_tokens: tokens of each of a list of texts.
        most_tokens: of a batch, every text padded to its longest; a longer text is a batch of its own.
        most_texts: of a batch.

    Returns:
        The places of the texts of each batch.
    """
    for first in range(0, len(texts), WINDOW):
        counts = count_tokens(list(texts[first : first + WINDOW]))
        order = sorted(range(len(counts)), key=lambda place: -counts[place])
        for places in length_batches([counts[place] for place in order], most_tokens, most_texts):
            yield [first + order[place] for place in places]


def length_batches(counts: Sequence[int], most_tokens: int, most_texts: int) -> Iterator[range]:
    """Cut a list of texts, the longest first, into batches: the places of each."""
    first = 0
    while first < len(counts):
        size = max(1, min(most_texts, most_tokens // max(1, counts[first])))
        yield range(first, min(first + size, len(counts)))
        first += size

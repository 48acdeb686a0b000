"""Cutting text into chunks of about so many tokens, at sentence and clause ends where one is near."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import accumulate, zip_longest

CountTokens = Callable[[list[str]], list[int]]

_SHORTEST, _LONGEST = 0.5, 1.5  # of the wanted length
_IDEOGRAPHIC = "。！？；，、"  # written without spaces, so these end a word too
_WORD = re.compile(rf"[^\s{_IDEOGRAPHIC}]+[{_IDEOGRAPHIC}]*|[{_IDEOGRAPHIC}]+")
_SENTENCE_END = re.compile(r"""[.!?…。！？]["'”’»)\]]*$""")
_CLAUSE_END = re.compile(r"""[,;:—–；，、]["'”’»)\]]*$""")
_SENTENCE_COST, _CLAUSE_COST, _WORD_COST = 0.0, 0.4, 1.0  # 0.1 = a tenth of the wanted length away from it

Span = tuple[int, int]  # begin and end of a word in the text


def chunk_text(text: str, count_tokens: CountTokens, chunk_tokens: int = 20) -> list[str]:
    """Cut `text` into chunks of about `chunk_tokens` tokens, between half and one and a half times that.

    The end of a chunk is the place in that range that costs least: its distance from the wanted length, plus nothing at
    the end of a sentence or paragraph, something at the end of a clause, more between other words. The rest of the text
    may be shorter. A word that is longer than a chunk is cut.

    Args:
        count_tokens: tokens of each of a list of words.

    Returns:
        The chunks in order, white space made single spaces; none for text of white space only.
    """
    spans = [match.span() for match in _WORD.finditer(text)]
    if not spans:
        return []
    spans, counts = _without_long_words(text, spans, count_tokens, chunk_tokens)
    costs = [_cost(text, span, following) for span, following in zip_longest(spans, spans[1:])]
    totals = [0, *accumulate(counts)]
    chunks, first = [], 0
    while first < len(spans):
        last = _last_word(totals, costs, first, chunk_tokens)
        chunks.append(" ".join(text[spans[first][0] : spans[last][1]].split()))
        first = last + 1
    return chunks


def _without_long_words(
    text: str, spans: Sequence[Span], count_tokens: CountTokens, chunk_tokens: int
) -> tuple[list[Span], list[int]]:
    """Words and their token counts, those of more than `chunk_tokens` cut into equal parts."""
    different = list(dict.fromkeys(text[begin:end] for begin, end in spans))
    tokens = dict(zip(different, count_tokens(different), strict=True))
    parts: list[Span] = []
    counts: list[int] = []
    for begin, end in spans:
        count = max(1, tokens[text[begin:end]])
        pieces = 1 if count <= chunk_tokens else min(end - begin, -(-2 * count // chunk_tokens))
        for piece in range(pieces):
            parts.append((begin + (end - begin) * piece // pieces, begin + (end - begin) * (piece + 1) // pieces))
            counts.append(-(-count // pieces))
    return parts, counts


def _cost(text: str, span: Span, following: Span | None) -> float:
    """Return the cost of ending a chunk after this word."""
    if following is None or text.count("\n", span[1], following[0]) > 1:
        return _SENTENCE_COST
    word = text[slice(*span)]
    if _SENTENCE_END.search(word) and not text[following[0]].islower():
        return _SENTENCE_COST
    return _CLAUSE_COST if _CLAUSE_END.search(word) else _WORD_COST


def _last_word(totals: Sequence[int], costs: Sequence[float], first: int, chunk_tokens: int) -> int:
    """Return the word at which the chunk that begins with word `first` ends best."""
    best, best_cost = first, float("inf")
    for last in range(first, len(costs)):
        length = (totals[last + 1] - totals[first]) / chunk_tokens
        if length > _LONGEST and last > first:
            break
        cost = costs[last] + abs(length - 1) + (0 if length >= _SHORTEST else 10)
        if cost < best_cost:
            best, best_cost = last, cost
    return best

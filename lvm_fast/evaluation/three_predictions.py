"""Shows three questions of an evaluation in words, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill

from .figures import CURVE_K, MODEL, Chunk, Question

_LABEL = 12


def three_predictions(questions: Sequence[Question], width: int = 100) -> str:
    """Return two questions that the model finds among its first five, and one that it misses: what was read, what came.

    They are not chosen for their beauty: of the found ones those at a third and two thirds, of the missed the middle.

    Args:
        questions: Those that `evaluate` has kept.
        width: The longest line.
    """
    found = [question for question in questions if question.ranks[MODEL] <= CURVE_K]
    missed = [question for question in questions if question.ranks[MODEL] > CURVE_K]
    chosen = [found[len(found) * third // 3] for third in (1, 2) if found] + missed[len(missed) // 2 :][:1]
    parts = [
        f"Three of {len(questions):,} questions, of which the model finds {len(found):,} among its first {CURVE_K}:"
    ]
    return "\n\n".join([*parts, *(_in_words(question, width) for question in chosen)])


def _in_words(question: Question, width: int) -> str:
    target, rank = question.target, question.ranks[MODEL]
    first = question.best[MODEL][0]
    lines = [f"{target.chain}, after {question.read:,} chunk{'s' * (question.read != 1)}"]
    lines += [
        _labelled("read" if not place else "", _said(chunk), width) for place, chunk in enumerate(question.context[-2:])
    ]
    if first.is_right:
        return "\n".join([*lines, _labelled("first, right", _said(target), width)])
    guess = "of the given bank" if first.chunk is None else _said(first.chunk)
    return "\n".join([*lines, _labelled("first", guess, width), _labelled(f"right: {rank:,}", _said(target), width)])


def _said(chunk: Chunk) -> str:
    return chunk.text or f"{chunk.chain}, chunk {chunk.position}"


def _labelled(label: str, text: str, width: int) -> str:
    start = f"  {label:<{_LABEL}}  "
    return fill(text, width, initial_indent=start, subsequent_indent=" " * len(start))

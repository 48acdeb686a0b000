"""Which questions held-out chains are asked, and when there are too few of them to tell anything."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..data.windows import Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore

ENOUGH = 200  # questions; a Hit@K of so many is known to some three points
FEW_QUESTIONS, FEW_CHAINS = 100, 10
_LEAST_STRIDE = 2  # at 1 the chunk before each target is a target too: copy-last would find itself first


def question_windows(
    store: ChainStore,
    context_length: int,
    stride: int | None = None,
    min_length: int = 7,
    min_coherence: float | None = None,
) -> Windows:
    """Lay out the windows to validate or score on; the arguments are those of `Windows`.

    Without a stride it is half the context length, or less, down to 2, until there are 200 questions: a few documents
    would else be asked a dozen, which anything answers.
    """
    if stride is None:
        stride = _usual_stride(store.lengths, context_length, min_length)
    return Windows(store, context_length, stride, min_length, min_coherence)


def _usual_stride(lengths: NDArray[np.int64], context_length: int, min_length: int) -> int:
    longest = Windows.usual_stride(context_length)
    spare = lengths[lengths >= min_length] - min_length
    strides = range(min(longest, _LEAST_STRIDE), longest + 1)
    # the longer the stride, the fewer the questions
    enough = bisect_left(strides, True, key=lambda stride: int((spare // stride + 1).sum()) < ENOUGH)
    return strides[max(0, enough - 1)]


def what_cannot_be_told(questions: int, pool: int, ks: Sequence[int] = (5,)) -> list[str]:
    """What a reader has to know of scores that rest on little, a sentence each; nothing where there is enough.

    Args:
        questions: Predictions scored.
        pool: Candidates of each.
        ks: The K of each Hit@K that is told.
    """
    notes = []
    if questions < FEW_QUESTIONS:
        only = f"Only {questions:,} question{'s' * (questions != 1)}"
        notes.append(f"{only}: a single answer moves a Hit@K by {100 / questions:.0f} points.")
    certain = [f"Hit@{k}" for k in ks if k >= pool]
    if certain:
        notes.append(f"In a pool of {pool} every prediction reaches {' and '.join(certain)}: that says nothing.")
    return notes

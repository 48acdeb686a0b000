"""The check that a quicker precision must pass before a store is encoded with it.

Some real chunks are encoded with it and in float32. Two figures decide: the mean cosine of the vectors, and Hit@5 of
the next chunk, predicted by the mean of the last 1, 2, 4, 8 and 16 chunks read. The candidates are 128 of these chunks,
none of those read: Hit@5 is the mean over all draws of them, which the target's rank among all gives. Among all 512
themselves it would hang on the few targets near the fifth place: a difference had a standard error of 0.5 points there,
and has one of 0.12.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from math import comb
from typing import Any

import numpy as np

from ..number_formats import Float32
from .encoder import Encoder, checked_rows, precision_of

CHUNKS = 512
LEAST_COSINE = 0.995
MOST_LOST = 0.003  # of Hit@5, a fraction
_RUN = 32  # chunks of a document in a row
_CONTEXTS = (1, 2, 4, 8, 16)
_HIT = 5
_POOL = 128  # candidates, the target among them


def check_precision(chunks: Sequence[Sequence[str]], encoder: Any) -> dict[str, Any]:
    """Compare an encoder with itself in float32, on up to 512 chunks of the documents.

    Args:
        chunks: the chunks of each document.
        encoder: has `precision` and `in_float32()`.

    Returns:
        What the store's metadata keep: "name", "chunks", "mean_cosine", "hit@5" and "hit@5_float32" (fractions).

    Raises:
        ValueError: a figure is too low, or the encoder gives NaN, zero vectors or another shape.
    """
    runs = sample_runs(chunks)
    texts = [text for run in runs for text in run]
    quick, exact = (checked_rows(asked, texts, "checking the precision") for asked in (encoder, encoder.in_float32()))
    cosine = float(np.einsum("td,td->t", quick, exact, dtype=np.float64).mean())
    lengths = [len(run) for run in runs]
    record = {
        "name": precision_of(encoder),
        "chunks": len(texts),
        "mean_cosine": round(cosine, 6),
        "hit@5": round(next_chunk_hits(quick, lengths), 6),
        "hit@5_float32": round(next_chunk_hits(exact, lengths), 6),
    }
    check_record(record, encoder)
    return record


def check_record(record: dict[str, Any], encoder: Encoder) -> None:
    """Raise ValueError unless the figures of `check_precision` are high enough."""
    lost = record["hit@5_float32"] - record["hit@5"]
    if record["mean_cosine"] >= LEAST_COSINE and lost <= MOST_LOST:
        return
    raise ValueError(
        f"precision = {record['name']!r} is too coarse for {encoder.name}: on {record['chunks']} chunks the mean "
        f"cosine with float32 is {record['mean_cosine']:.4f} (expected at least {LEAST_COSINE}) and Hit@5 loses "
        f"{100 * lost:.2f} points (expected at most {100 * MOST_LOST:.1f}); use float32"
    )


def sample_runs(chunks: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return runs of up to 32 consecutive chunks, 512 chunks at most, spread evenly over the documents."""
    runs = [list(texts[first : first + _RUN]) for texts in chunks for first in range(0, len(texts), _RUN)]
    long_enough = [run for run in runs if len(run) > 1] or runs
    wanted = min(len(long_enough), CHUNKS // _RUN)
    chosen = [long_enough[place] for place in np.linspace(0, len(long_enough) - 1, wanted).astype(int).tolist()]
    taken = set(map(id, chosen))
    for run in long_enough:  # short documents give more runs
        if sum(map(len, chosen)) + len(run) <= CHUNKS and id(run) not in taken:
            chosen.append(run)
    return chosen


def next_chunk_hits(rows: Float32, lengths: Sequence[int]) -> float:
    """Compute Hit@5 of the next chunk by the mean of the last chunks, over all runs, context lengths and pools of 128.

    Args:
        rows: (T, D) unit vectors, run after run.
        lengths: rows in each run.

    Returns:
        A fraction; 1 where no run has two chunks.
    """
    questions = [
        (max(first, target - context), target)
        for first, stop in zip(np.cumsum([0, *lengths[:-1]]).tolist(), np.cumsum(lengths).tolist(), strict=True)
        for target in range(first + 1, stop)
        for context in _CONTEXTS
        if context == 1 or target - context >= first
    ]
    hits = 0.0
    for begin, target in questions:
        scores = rows @ rows[begin:target].mean(axis=0)
        scores[begin:target] = -np.inf
        hits += hit_share(int(np.count_nonzero(scores > scores[target])), len(rows) - (target - begin) - 1)
    return hits / len(questions) if questions else 1.0


@cache
def hit_share(better: int, others: int) -> float:
    """Return how often a target is among the best five of 128 candidates, when the rest is drawn from `others`.

    Args:
        better: how many of the others score better than the target.
        others: how many there are; all of them are candidates where they are fewer than 128.
    """
    drawn = min(_POOL - 1, others)
    ways = sum(comb(better, few) * comb(others - better, drawn - few) for few in range(min(_HIT, drawn + 1)))
    return ways / comb(others, drawn)

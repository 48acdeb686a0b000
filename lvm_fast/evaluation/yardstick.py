"""What a model has to beat: the best of the closed forms, and no weaker one."""

from __future__ import annotations

from collections.abc import Mapping

CLOSED_FORMS = ("copy_last", "recency_mean", "centred_recency", "whitened_recency")


def best_of(scores: Mapping[str, Mapping[str, float]], metric: str) -> str | None:
    """The closed form with the best figure, of equals the one with the best MRR; None where there is none.

    Args:
        scores: Of predictors, by name, closed forms among them.
        metric: Of which figure, such as "hit@5".
    """
    known = [name for name in CLOSED_FORMS if name in scores]
    return max(known, key=lambda name: (scores[name][metric], scores[name].get("mrr", 0.0)), default=None)

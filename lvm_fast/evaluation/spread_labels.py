"""Moves the names beside lines apart where they would overlap."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move values, as little as needed, until neighbours are at least `gap` apart and all are in [low, high].

    Less `gap` for every value below it, each only has to stay above its neighbour: values that do not share their mean.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    groups: list[list[float]] = []
    for below, i in enumerate(order):
        groups.append([values[i] - below * gap])
        while len(groups) > 1 and fmean(groups[-2]) > fmean(groups[-1]):
            last = groups.pop()
            groups[-1] += last
    levels = [fmean(group) for group in groups for _ in group]
    highest = high - (len(values) - 1) * gap
    moved = {i: max(low, min(levels[below], highest)) + below * gap for below, i in enumerate(order)}
    return [moved[i] for i in range(len(values))]

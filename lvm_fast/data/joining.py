"""Finds the chains that overlapping windows were cut from, by the ids of their rows: equal rows have equal ids."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .number_formats import Int64

_LEAST_OVERLAP = 0.25  # of a window; fewer rows may agree by chance: phrases repeat

Places = dict[int, tuple[int, int]]  # run -> another run, and where in it, counted in rows, the first one begins


class Chains(NamedTuple):
    """Joined windows.

    Attributes:
        rows: (T,) ids, chain after chain.
        offsets: (C + 1,) where the chains begin and end in `rows`.
        starts: (S,) where each window begins in `rows`.
    """

    rows: Int64
    offsets: Int64
    starts: Int64


def join_windows(windows: Int64) -> Chains:
    """Join windows (S, L) of row ids to the chains they overlap in, L at least 2.

    A window goes on past another where its first rows are that one's last rows, a quarter of a window at least. The one
    before is tried first, then all others: windows may be out of order or given twice. If no window goes on past any
    other like this, the overlap may be as short as one row, of windows that follow each other.
    """
    length = windows.shape[1]
    least = max(2, int(_LEAST_OVERLAP * length))
    chains = _joined(windows, least, least)
    goes_on = np.diff(chains.offsets).max() > length
    return chains if goes_on or len(chains.offsets) == 2 else _joined(windows, 1, least)


def _joined(windows: Int64, least_in_order: int, least: int) -> Chains:
    """Join windows that share at least `least` rows, or `least_in_order` with the one before."""
    runs, run_of, places = _runs(windows, least_in_order)
    heads, begins = _laid_out(_joints(runs, least), len(runs))
    chains = np.unique(heads, return_inverse=True)[1]  # (R,) in the order of their first runs
    ends = begins + [len(run) for run in runs]
    lengths = np.zeros(chains.max() + 1, np.int64)
    np.maximum.at(lengths, chains, ends)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows = np.empty(offsets[-1], np.int64)
    for run, chain, begin, end in zip(runs, chains, begins, ends, strict=True):
        rows[offsets[chain] + begin : offsets[chain] + end] = run
    return Chains(rows, offsets, offsets[chains[run_of]] + begins[run_of] + places)


def _runs(windows: Int64, least: int) -> tuple[list[Int64], Int64, Int64]:
    """Windows joined to the one before: the rows of each run, and of each window its run and its place in it, (S,)."""
    length = windows.shape[1]
    blocks: list[list[Int64]] = []
    run_of, places = np.empty(len(windows), np.int64), np.zeros(len(windows), np.int64)
    shift: int | None = None
    for at, window in enumerate(windows):
        shift = _shift(windows[at - 1], window, shift, least) if at else None
        if shift is None:
            blocks.append([window])
        else:
            places[at] = places[at - 1] + shift
            blocks[-1].append(window[length - shift :])
        run_of[at] = len(blocks) - 1
    return [np.concatenate(block) for block in blocks], run_of, places


def _shift(last: Int64, window: Int64, expected: int | None, least: int) -> int | None:
    """By how many rows `window` goes on past `last` (0: the same window again); None if they share fewer than `least`.

    The step of the window before is tried first, so that repeated rows do not mislead.
    """
    if expected is not None and _agree(last, expected, window):
        return expected
    shifts: list[int] = np.flatnonzero(last[: len(last) - least + 1] == window[0]).tolist()
    return next((shift for shift in shifts if _agree(last, shift, window)), None)


def _agree(rows: Int64, at: int, others: Int64) -> bool:
    """Return whether `others`, laid over `rows` from place `at` on, are the same as far as both go."""
    return np.array_equal(rows[at : at + len(others)], others[: len(rows) - at])


def _joints(runs: list[Int64], least: int) -> Places:
    """Find the runs that lie inside another one or go on past its end, and where; at most one goes on past each.

    They share at least `least` rows; of two that could go on past a run, the one that shares more does.
    """
    ids, offsets = np.concatenate(runs), np.cumsum([0, *map(len, runs)])
    pairs = ids[:-1] * (ids.max() + 1) + ids[1:]  # looked up by two rows, not by one: phrases repeat
    order = np.argsort(pairs, kind="stable")
    ranked = pairs[order]
    inside: Places = {}
    past: list[tuple[int, int, int, int]] = []
    for run, rows in enumerate(runs):
        first = pairs[offsets[run]]
        found = order[slice(*(np.searchsorted(ranked, first, side) for side in ("left", "right")))]
        others = np.searchsorted(offsets, found, side="right") - 1
        for other, place in zip(others.tolist(), (found - offsets[others]).tolist(), strict=True):
            common = min(len(rows), len(runs[other]) - place)
            if other == run or common < least or not _agree(runs[other], place, rows):
                continue
            if common < len(rows):
                past.append((-common, run, other, place))
            elif (len(rows), -run) < (len(runs[other]), -other):  # of two equal runs, the later lies in the earlier
                inside[run] = other, place
    return inside | _chosen([joint for joint in sorted(past) if not {joint[1], joint[2]} & inside.keys()], len(runs))


def _chosen(joints: list[tuple[int, int, int, int]], count: int) -> Places:
    """Of joints (rank, run, other run, place), best first, those that leave no run with two neighbours on a side."""
    chosen: Places = {}
    followed: set[int] = set()
    ends = list(range(count))  # towards the last run of each chain
    for _, run, other, place in joints:
        if run in chosen or other in followed or _last(ends, run) == other:
            continue
        chosen[run] = other, place
        followed.add(other)
        ends[other] = run
    return chosen


def _last(ends: list[int], run: int) -> int:
    while ends[run] != run:
        ends[run] = ends[ends[run]]
        run = ends[run]
    return run


def _laid_out(joints: Places, count: int) -> tuple[Int64, Int64]:
    """Return the first run of each run's chain, and where in that chain the run begins, (R,) each."""
    heads, begins = np.full(count, -1), np.zeros(count, np.int64)
    for run in range(count):
        way = []
        while heads[run] < 0 and run in joints:
            way.append(run)
            run = joints[run][0]
        heads[run] = run if heads[run] < 0 else heads[run]
        for step in reversed(way):
            other, place = joints[step]
            heads[step], begins[step] = heads[other], begins[other] + place
    return heads, begins

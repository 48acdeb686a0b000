"""Draw what prefixes in principal axes decide, as docs/explanation/scoring.md shows it.

python docs/tools/draw_prefixes.py STORE  # write docs/images/prefixes.png, from the vectors of a chain store

Left: one query that repeats a chunk, against every other chunk: the score that a prefix allows, beside the true
one. Right: the share of all pairs that prefixes leave open, by their length.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast.data.vectors import Vectors
from lvm_fast.retrieval.prefixes import Axes, prefixes_of, principal_axes

mpl.use("Agg")
import matplotlib.pyplot as plt

PICTURE = Path(__file__).parents[1] / "images" / "prefixes.png"
LENGTHS = (32, 64, 96, 128, 160, 192, 224, 256)
QUERIES, BEST, BAND = 200, 10, 0.75
GREY, BLUE, RED = "#9aa0a6", "#3b6fb6", "#c0392b"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path, help="a chain store of encoder vectors")
    vectors = np.asarray(lf.ChainStore.open(parser.parse_args().store).vectors)
    rows = np.linspace(1, len(vectors) - 1, QUERIES).astype(np.int64)
    queries = vectors[rows - 1]
    axes = principal_axes(Vectors.of(vectors), "cosine")
    if axes is None:
        parser.error("expected a store of many rows and columns")
    scores = queries @ vectors.T
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    draw_query(left, scores, most_promised(queries, vectors, axes), len(axes))
    draw_shares(right, queries, vectors, scores)
    figure.savefig(PICTURE, dpi=120)
    print(PICTURE)


def most_promised(queries: NDArray[np.float32], vectors: NDArray[np.float32], axes: Axes) -> NDArray[np.float32]:
    """Return the highest score that each pair can have, by its prefixes and tails alone, (B, N)."""
    q, c = (prefixes_of(x, axes, "cosine") for x in (queries, vectors))
    promised: NDArray[np.float32] = q.rows @ c.rows.T + np.outer(q.tails, c.tails)
    return promised


def draw_query(plot: plt.Axes, scores: NDArray[np.float32], promised: NDArray[np.float32], length: int) -> None:
    kth = np.sort(scores, axis=1)[:, -BEST]
    opened = np.count_nonzero(promised >= kth[:, None], axis=1)
    chosen = int(np.argsort(opened)[len(opened) // 2])  # of median difficulty
    some = np.random.default_rng(0).permutation(scores.shape[1])[:4000]
    some = np.union1d(some, np.flatnonzero(promised[chosen] >= kth[chosen]))
    is_open = promised[chosen, some] >= kth[chosen]
    for mask, colour, name in ((~is_open, GREY, "decided by the prefix"), (is_open, RED, "looked at whole")):
        plot.scatter(scores[chosen, some][mask], promised[chosen, some][mask], s=3, color=colour, label=name)
    plot.axhline(kth[chosen], color=BLUE, lw=1, label=f"the {BEST}th best score")
    plot.set(xlabel="score", ylabel=f"at most, by {length} numbers of each")
    plot.set_title(f"One query: {opened[chosen]:,} of {scores.shape[1]:,} stay open", fontsize=10)
    plot.legend(fontsize=8, loc="lower right")


def draw_shares(
    plot: plt.Axes, queries: NDArray[np.float32], vectors: NDArray[np.float32], scores: NDArray[np.float32]
) -> None:
    sample = vectors[np.linspace(0, len(vectors) - 1, 4096).astype(np.int64)].astype(np.float64)
    _, directions = np.linalg.eigh(sample.T @ sample)
    kth = np.sort(scores, axis=1)[:, -BEST:][:, :1]
    shares: dict[str, list[float]] = {f"the {BEST} best": [], f"scores above {BAND}": []}
    for length in LENGTHS:
        axes = np.ascontiguousarray(directions[:, : -length - 1 : -1].T)
        promised = most_promised(queries, vectors, axes)
        for values, threshold in zip(shares.values(), (kth, BAND), strict=True):
            values.append(100 * float(np.mean(promised >= threshold)))
    for (name, values), colour in zip(shares.items(), (RED, BLUE), strict=True):
        plot.plot(LENGTHS, values, "o-", ms=3, color=colour, label=name)
    plot.set(xlabel="numbers in a prefix", ylabel="pairs left open, %", yscale="log", xticks=LENGTHS)
    plot.set_title(f"{len(queries)} queries against {len(vectors):,} chunks", fontsize=10)
    plot.legend(fontsize=8)


if __name__ == "__main__":
    main()

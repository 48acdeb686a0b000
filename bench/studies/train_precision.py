"""Does training in bfloat16 reach the Hit@5 of float32? Trains both with several seeds and compares query by query.

python bench/studies/train_precision.py STORE  # three seeds, the reference's recipe
python bench/studies/train_precision.py STORE --set epochs=4 context_length=32  # any setting of the recipe
python bench/studies/train_precision.py --set epochs=1 'model={hidden_dim: 32, num_layers: 2, memory_slots: 64}'

Every run sees the same split, so all of them answer the same queries in the same pool; seeds differ in weights, order
and dropout. Each run is scored with its best epoch. The interval of a difference resamples whole chains, for both
precisions alike; "all" averages each query's hits over the seeds first.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast._util.device import choose_device, multiplies_bfloat16
from lvm_fast.cli.info import describe_installation
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.pools import Candidates, Pool
from lvm_fast.evaluation.predictions import predict_windows

PRECISIONS = ("float32", "bfloat16")


class Run(NamedTuple):
    """Hits of each query (Q,), context vectors and windows trained a second, and epochs."""

    hits: NDArray[np.float64]
    vectors_per_second: float
    windows_per_second: float
    epochs: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", nargs="?", default="sample", help="a chain store (default: the sample)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--pool", default="store", help="'targets', 'store' or a size (default: store)")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of the recipe")
    args = parser.parse_args()
    settings = {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in args.set)}

    store = lf.sample() if args.store == "sample" else lf.ChainStore.open(args.store)
    training, held_out = lf.split_chains(store, seed=42)
    usual = lf.Recipe.from_dict(settings)
    if not multiplies_bfloat16(choose_device(usual.device)):
        parser.error("this device has no bfloat16 products of its own: both trainings would run in float32")
    windows = lf.Windows(held_out, usual.context_length, usual.val_stride, usual.min_length)
    pool = pool_of(windows, args.pool)
    runs: dict[tuple[int, str], Run] = {}
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            for precision in PRECISIONS:
                own = {"seed": seed, "precision": precision, "output_dir": str(Path(folder, f"{seed}-{precision}"))}
                data = {"data": training, "validation_data": held_out, "tensorboard": False}
                with contextlib.redirect_stdout(sys.stderr):
                    runs[seed, precision] = run_of(lf.Recipe.from_dict({**settings, **data, **own}), windows, pool)
    print(table(runs, args.seeds, held_out.documents_of(windows.chains[pool.queries])))
    print(f"\nHit@5 in a pool of {len(pool):,} ({pool.description}), {len(pool.queries):,} queries, context")
    machine = ", ".join(f"{name} {value}" for name, value in describe_installation().items())
    print(f"{usual.context_length}, with its 95% interval. {machine}")


def pool_of(windows: lf.Windows, name: str) -> Pool:
    candidates = Candidates(windows)
    if name == "targets":
        return candidates.targets()
    return candidates.all() if name == "store" else candidates.sized(int(name), seed=42)


def run_of(recipe: lf.Recipe, windows: lf.Windows, pool: Pool) -> Run:
    result = lf.train(recipe)
    ranks = pool.ranks({"model": predict_windows(result.model, windows)})["model"]
    seconds = [row["seconds"] for row in result.history]
    speeds = [row["vectors_per_second"] for row in result.history]
    effective = recipe.batch_size * recipe.accumulation_steps
    an_epoch = effective * result.steps / len(result.history)  # windows, the last step counted as full
    return Run(
        (ranks < 5).astype(np.float64),
        float(np.median(speeds)),
        float(an_epoch / np.median(seconds)),
        len(result.history),
    )


def table(runs: dict[tuple[int, str], Run], seeds: list[int], clusters: NDArray[np.int64]) -> str:
    lines = [
        "| seed | float32 Hit@5 | bfloat16 Hit@5 | bfloat16 - float32 | epochs | windows/s | vectors/s | speed-up |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, chosen in [(str(seed), [seed]) for seed in seeds] + [("all", seeds)]:
        full, half = ([runs[seed, precision] for seed in chosen] for precision in PRECISIONS)
        hits = [np.mean([run.hits for run in each], axis=0) for each in (full, half)]
        values = np.stack([*hits, hits[1] - hits[0]], axis=1)  # (Q, 3)
        ends = bootstrap_intervals(values, clusters)
        figures = [percent(values[:, i].mean(), None if ends is None else ends[:, i]) for i in range(3)]
        windows, vectors = (both(full, half, key) for key in ("windows_per_second", "vectors_per_second"))
        gain = np.median([b.vectors_per_second / f.vectors_per_second for f, b in zip(full, half, strict=True)])
        epochs = both(full, half, "epochs")
        lines.append(f"| {name} | {' | '.join(figures)} | {epochs} | {windows} | {vectors} | {gain:.2f}x |")
    return "\n".join(lines)


def percent(mean: float, ends: NDArray[np.float64] | None) -> str:
    interval = "" if ends is None else f" [{100 * ends[0]:.2f}, {100 * ends[1]:.2f}]"
    return f"{100 * mean:.2f}{interval}"


def both(full: list[Run], half: list[Run], key: str) -> str:
    medians: list[Any] = [np.median([getattr(run, key) for run in each]) for each in (full, half)]
    return f"{medians[0]:.0f} / {medians[1]:.0f}"


if __name__ == "__main__":
    main()

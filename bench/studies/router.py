"""Does a router keep the accurate model's Hit@5 at 60% of its time, on contexts of 20, 50, 100, 200 and 500 vectors?

python bench/studies/router.py --store STORE --fast runs/fast --accurate runs/accurate  # models of one split
python bench/studies/router.py --store STORE  # two models trained on the spot
python bench/studies/router.py --lengths 10 20 40 80 --limits 20 80 --epochs 1  # the sample, a few minutes

The router is Router({100: fast, 500: accurate}). How sure the fast model must be to answer a longer context is read off
held-out chains; so that no threshold is scored on the chains it was read off, these are dealt into two halves, and each
half is answered with the threshold of the other. All lengths have as many queries. Times are of one prediction at a
time, the models taking turns.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast._util.process import keep_freed_memory
from lvm_fast.cli.info import describe_installation
from lvm_fast.data.windows import GivenWindows
from lvm_fast.evaluation.baselines import copy_last
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.latency import prediction_times
from lvm_fast.evaluation.markdown_table import cell, table
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.predictions import predict_windows
from lvm_fast.training.run_folder import open_run

GOAL = 0.6  # of the accurate model's mean time
METRIC = "hit@5"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="sample", help="a chain store (default: the sample)")
    parser.add_argument("--fast", type=Path, help="a run, checkpoint or saved model (default: trained now)")
    parser.add_argument("--accurate", type=Path, help="the same, for longer contexts")
    parser.add_argument("--limits", type=int, nargs=2, default=[100, 500], help="the longest context of each")
    parser.add_argument("--lengths", type=int, nargs="+", default=[20, 50, 100, 200, 500])
    parser.add_argument("--per-length", type=int, default=200, help="queries of each length, at most")
    parser.add_argument("--tolerance", type=float, default=0.0, help="loss of Hit@5 that a threshold may cost")
    parser.add_argument("--bank", type=int, default=1024, help="training chunks that sureness is measured against")
    parser.add_argument("--pool", type=int, help="candidates (default: the targets)")
    parser.add_argument("--timed", type=int, default=50, help="contexts to time, of each half")
    parser.add_argument(
        "--val-fraction", type=float, default=0.1, help="share held out, by chain, as in the models' runs"
    )
    parser.add_argument("--test-fraction", type=float, default=0.0, help="as in the runs: then test chains are asked")
    parser.add_argument("--seed", type=int, default=42, help="seed of the split, as in the models' runs")
    parser.add_argument("--epochs", type=int, default=2, help="of models trained now")
    return parser.parse_args()


def main() -> None:
    args = arguments()
    keep_freed_memory()
    store = lf.sample() if args.store == "sample" else lf.ChainStore.open(args.store)
    training, held_out, *test = lf.split_chains(store, args.val_fraction, args.seed, test_fraction=args.test_fraction)
    fast, accurate = models(args, training, held_out)
    short, long = args.limits
    windows = windows_of(test[0] if test else held_out, args.lengths, args.per_length)
    rng = np.random.default_rng(args.seed)
    rows = np.sort(rng.choice(len(training.vectors), min(args.bank, len(training.vectors)), replace=False))
    bank = lf.VectorBank(training.vectors[rows], normalize=True)

    alone = {"fast": lf.Router({short: fast}), "accurate": lf.Router({long: accurate})}
    predicted = {name: predict_windows(model, windows) for name, model in alone.items()}
    predicted |= {"router": np.empty_like(predicted["fast"]), "copy_last": copy_last(windows)}
    arms, seconds = (
        np.empty(len(windows), np.int64),
        {name: np.full(len(windows), np.nan) for name in [*alone, "router"]},
    )
    halves = halves_of(windows, rng)
    for half, other in zip(halves, reversed(halves), strict=True):
        router = lf.Router({short: fast, long: accurate})
        found = lf.calibrate_router(router, windows.part(other), bank, tolerance=args.tolerance)
        print(f"{found} on {len(other)} queries, for {len(half)} others", file=sys.stderr)
        own = windows.part(half)
        predicted["router"][half], arms[half] = routed(router, own)
        timed, times = prediction_times({**alone, "router": router}, own, args.timed)
        for name, each in times.items():
            seconds[name][half[timed]] = each
    candidates = Candidates(windows, training)
    pool = candidates.targets() if args.pool is None else candidates.sized(args.pool, args.seed)
    hits = {name: (rank < 5).astype(np.float64) for name, rank in pool.ranks(predicted).items()}
    print("\n".join(report(windows, pool.queries, len(pool), hits, arms, seconds)))
    print(f"\n{', '.join(f'{name} {value}' for name, value in describe_installation().items())}")


def models(args: argparse.Namespace, training: lf.ChainStore, held_out: lf.ChainStore) -> tuple[Any, Any]:
    """Load the named models, or train two: a small one on short contexts, a larger one on long ones."""
    made = []
    for path, limit, width in ((args.fast, args.limits[0], 192), (args.accurate, args.limits[1], 384)):
        if path is not None:
            made.append(open_run(path, "bench").model)
            continue
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
            recipe = lf.Recipe(
                data=training,
                validation_data=held_out,
                model={"hidden_dim": width, "num_layers": 2, "memory_slots": 256},
                context_length=limit,
                objective="all_positions",
                infonce_batch="effective",
                alpha_infonce=10.0,
                temperature=0.03,
                batch_size=max(1, 3200 // limit),
                accumulation_steps=1,
                lr=1e-3,
                epochs=args.epochs,
                seed=args.seed,
                tensorboard=False,
                output_dir=str(Path(folder, "run")),
            )
            made.append(lf.train(recipe).model)
    return made[0], made[1]


def windows_of(store: lf.ChainStore, lengths: list[int], most: int) -> GivenWindows:
    """As many contexts of each length, their targets spread evenly over all rows that have so many before them."""
    rows = np.arange(len(store.vectors))
    before = rows - store.offsets[store.chain_of(rows)]
    eligible = [rows[before >= length] for length in lengths]
    count = min(most, *map(len, eligible))
    if not count:
        raise SystemExit(f"no held-out chain has more than {max(lengths)} vectors")
    targets = [own[np.linspace(0, len(own) - 1, count).round().astype(np.int64)] for own in eligible]
    return GivenWindows(
        store, np.concatenate([t - n for t, n in zip(targets, lengths, strict=True)]), np.concatenate(targets)
    )


def halves_of(windows: GivenWindows, rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """Split the windows into those of two halves of the chains; chains with long contexts are dealt first."""
    clusters = windows.store.documents_of(windows.chains)
    reach = np.zeros(clusters.max() + 1, np.int64)
    np.maximum.at(reach, clusters, windows.lengths)
    dealt = np.lexsort((rng.random(len(reach)), -reach))
    side = np.empty(len(reach), np.int64)
    side[dealt] = np.arange(len(reach)) % 2
    return [np.flatnonzero(side[clusters] == half) for half in (0, 1)]


def routed(router: lf.Router, windows: GivenWindows) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the router's unit predictions (W, D), and the model (arm) of each."""
    predicted, arms = np.empty((len(windows), windows.store.dim), np.float32), np.empty(len(windows), np.int64)
    order = np.argsort(windows.lengths, kind="stable")
    with torch.no_grad():
        for first in range(0, len(order), 64):
            chosen = order[first : first + 64]
            batch = windows.batch(chosen)
            answer = router.routed(torch.from_numpy(batch.context), torch.from_numpy(batch.lengths))
            last = torch.from_numpy(batch.context[np.arange(len(chosen)), batch.lengths - 1])
            predicted[chosen], arms[chosen] = lf.reconstruct(last, answer.answers).numpy(), answer.arms
    return predicted, arms


def report(
    windows: GivenWindows,
    queries: NDArray[np.int64],
    pool: int,
    hits: dict[str, NDArray[np.float64]],
    arms: NDArray[np.int64],
    seconds: dict[str, NDArray[np.float64]],
) -> list[str]:
    """Return a row for each length and one for all, and whether the goal is met."""
    clusters = windows.store.documents_of(windows.chains)[queries]
    lengths = windows.lengths[queries]
    columns = np.stack([*hits.values(), hits["router"] - hits["accurate"]], axis=1)  # (Q, 5)
    head = ["context", "queries", "chains", *hits, "router - accurate", "fast answers"]
    head += [f"{name}, mean ms" for name in seconds] + ["router / accurate"]
    rows = []
    share, ends = 0.0, None
    for length in [*np.unique(lengths).tolist(), None]:
        own = np.ones(len(queries), np.bool_) if length is None else lengths == length
        means, ends = columns[own].mean(axis=0), bootstrap_intervals(columns[own], clusters[own])
        cells = [
            cell(METRIC, mean, None if ends is None else (ends[0, i], ends[1, i]), signed=i == len(means) - 1)
            for i, mean in enumerate(means)
        ]
        timed = np.ones(len(windows), np.bool_) if length is None else windows.lengths == length
        mean_ms = {name: 1e3 * float(np.nanmean(each[timed])) for name, each in seconds.items()}
        share = mean_ms["router"] / mean_ms["accurate"]
        answers = f"{100 * np.mean(arms[queries][own] == 0):.0f}%"
        counts = [str(own.sum()), str(len(np.unique(clusters[own])))]
        times = [f"{each:.1f}" for each in mean_ms.values()]
        rows.append(["all" if length is None else str(length), *counts, *cells, answers, *times, f"{100 * share:.0f}%"])
    high = means[-1] if ends is None else ends[1, -1]
    met = {True: "met", False: "not met"}
    return [
        *table(head, rows),
        "",
        f"Hit@5 in percent, pool of {pool:,}, 95% intervals over chains; the last row: equal shares of all lengths.",
        f"Goal, the interval of router - accurate holds 0 or better: {met[bool(high >= 0)]}.",
        f"Goal, at most {GOAL:.0%} of the accurate model's mean time: {met[share <= GOAL]} ({100 * share:.1f}%).",
    ]


if __name__ == "__main__":
    main()

r"""How much of the reference's Hit@5 is pool size and leakage? Trains its way and the honest way, and takes it apart.

python bench/studies/honest_evaluation.py --store STORE  # minutes on two cores: small models
python bench/studies/honest_evaluation.py --store STORE --contexts 100 --epochs 50 --set accumulation_steps=8 lr=1e-4 \
    alpha_infonce=0.05 temperature=0.07 model={}                                  # the reference's recipe and size

The reference cuts windows that overlap by half out of the whole array, deals them at random to training and validation,
and takes the validation targets as the pool. For each context length two models of one size are trained by one recipe:
one on such windows, one on whole chains. Four rows then lead from the reference's figure to the honest one:

1. random windows, their own targets as the pool: the reference's figure;
2. the same predictions in a pool of fixed size: what the pool did;
3. the same model on chains that a chain-level split holds out, but whose windows it was trained on, in such a pool;
4. the model that never saw those chains, same questions, same pool: what the leakage did.

Copying the last vector stands beside each. 95% intervals resample whole chains; differences are paired.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast._util.process import prepare_for_training
from lvm_fast.cli.info import describe_installation
from lvm_fast.evaluation.baselines import copy_last
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.predictions import predict_windows

PHASES = {100: "phase1", 500: "phase2", 1000: "phase3"}
# What a small model learns from in minutes: a step a forward pass, since a tenth of the reference's data would give
# five steps an epoch, and a loss that counts being found far more than being near.
SMALL = {
    "accumulation_steps": 1,
    "lr": 3e-4,
    "alpha_infonce": 10.0,
    "temperature": 0.03,
    "model": {"hidden_dim": 256, "num_layers": 2, "memory_slots": 512},
}


class Row(NamedTuple):
    """A line of the table: hits of the model and of copy-last (Q,), and the chain of each."""

    words: str
    pool: int
    model: NDArray[np.float64]
    copied: NDArray[np.float64]
    chains: NDArray[np.int64]


def main() -> None:
    prepare_for_training()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="sample", help="a chain store (default: the sample)")
    parser.add_argument("--contexts", type=int, nargs="+", default=[100, 500, 1000])
    parser.add_argument("--epochs", type=int, default=8, help="passes over the windows, without early stopping")
    parser.add_argument("--pool", type=int, default=1149, help="the fixed pool (default: the reference's largest)")
    parser.add_argument("--stride", type=int, default=10, help="vectors between questions to the held-out chains")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings over the phase recipe")
    args = parser.parse_args()
    settings = SMALL | {key: yaml.safe_load(value) for key, _, value in (pair.partition("=") for pair in args.set)}
    settings |= {"epochs": args.epochs, "patience": args.epochs, "seed": args.seed, "tensorboard": False}

    started = time.monotonic()
    store = lf.sample() if args.store == "sample" else lf.ChainStore.open(args.store)
    titles = "trained on; asked about", "pool", "questions (chains)", "model", "copy-last", "model - copy-last", "step"
    print(f"| context | {' | '.join(titles)} |")
    print("|---:|---|---:|---:|---:|---:|---:|---:|")
    for context in args.contexts:
        for line in lines(context, study(store, context, settings, args)):
            print(line, flush=True)
    print(f"\nHit@5, %, with 95% intervals. memory_gru by the phase recipes, with {settings}.")
    print("The random windows have full contexts, the held-out chains up to so many vectors.")
    print(f"{(time.monotonic() - started) / 60:.0f} minutes.", end=" ")
    print(", ".join(f"{name} {value}" for name, value in describe_installation().items()))


def study(store: lf.ChainStore, context: int, settings: dict[str, Any], args: argparse.Namespace) -> list[Row]:
    """Compute the four rows of one context length."""
    grid = lf.Windows(store, context, context // 2, context + 1, cross_chains=True)
    order = np.random.default_rng(args.seed).permutation(len(grid))
    held, kept = np.split(order, [round(0.1 * len(grid))])
    seen, unseen = (alone(store, grid, np.sort(part)) for part in (kept, held))
    fixed = {"context_length": context, "min_length": context + 1, "stride": context + 1, "val_stride": context + 1}
    leaky = trained(context, settings | fixed, seen, unseen)
    windows = lf.Windows(unseen, context, context + 1, context + 1)
    both = {"model": predict_windows(leaky, windows, 32), "copy": copy_last(windows)}
    targets, chains = grid.targets[np.sort(held)], store.chain_of(grid.targets[np.sort(held)])
    rows = [
        row("windows dealt at random; held-out windows", store, targets, targets, both, chains),
        row("the same", store, with_others(targets, len(store.vectors), args), targets, both, chains),
    ]
    training, held_out = lf.split_chains(store, seed=args.seed)
    clean = trained(context, settings | {"context_length": context}, training, held_out)
    windows = lf.Windows(held_out, context, args.stride)
    pool = Candidates(windows, training).sized(args.pool, args.seed)
    asked = {"leaky": predict_windows(leaky, windows, 32), "clean": predict_windows(clean, windows, 32)}
    hits = {name: (r < 5).astype(float) for name, r in pool.ranks({**asked, "copy": copy_last(windows)}).items()}
    clusters = held_out.documents_of(windows.chains[pool.queries])
    words = {
        "leaky": "windows dealt at random; chains it has seen windows of",
        "clean": "whole chains; held-out chains",
    }
    return rows + [Row(words[name], len(pool), hits[name], hits["copy"], clusters) for name in words]


def alone(store: lf.ChainStore, grid: lf.Windows, chosen: NDArray[np.int64]) -> lf.ChainStore:
    """Make a store whose chains are these windows with their targets: the reference's sequence file."""
    names = [f"window {window}" for window in chosen]
    return store.pieces(grid.starts[chosen], grid.targets[chosen] + 1, names, {})


def trained(context: int, settings: dict[str, Any], data: lf.ChainStore, held_out: lf.ChainStore) -> Any:
    """Train a model by the recipe of this context's phase; the best epoch is chosen as the reference does."""
    name = PHASES[max(known for known in PHASES if known <= max(context, min(PHASES)))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        places = {"data": data, "validation_data": held_out, "output_dir": str(Path(folder, "run"))}
        return lf.train(lf.Recipe.named(name, **settings, **places)).model


def with_others(targets: NDArray[np.int64], total: int, args: argparse.Namespace) -> NDArray[np.int64]:
    """Return the targets and random other rows, as many as the pool has, sorted."""
    others = np.setdiff1d(np.arange(total), targets)
    more = np.random.default_rng(args.seed).choice(others, args.pool - len(targets), replace=False)
    return np.sort(np.concatenate([targets, more]))


def row(
    words: str,
    store: lf.ChainStore,
    candidates: NDArray[np.int64],
    targets: NDArray[np.int64],
    predictions: dict[str, NDArray[np.float32]],
    chains: NDArray[np.int64],
) -> Row:
    bank = lf.VectorBank(store.vectors[candidates], normalize=True)
    places = np.searchsorted(candidates, targets)
    hits = [(bank.rank(vectors, places) < 5).astype(float) for vectors in predictions.values()]
    return Row(words, len(bank), hits[0], hits[1], chains)


def lines(context: int, rows: list[Row]) -> list[str]:
    """Return the rows as Markdown; a step from one row to the next is paired where the questions are the same."""
    shown = []
    for place, (words, pool, model, copied, chains) in enumerate(rows):
        step = with_interval(model - rows[place - 1].model, chains) if place in (1, 3) else ""
        figures = [with_interval(values, chains) for values in (model, copied, model - copied)]
        asked = f"{len(model):,} ({len(np.unique(chains))})"
        shown.append(f"| {context:,} | {words} | {pool:,} | {asked} | {' | '.join(figures)} | {step} |")
    return shown


def with_interval(values: NDArray[np.float64], chains: NDArray[np.int64]) -> str:
    ends = bootstrap_intervals(values[:, None], chains)
    interval = "" if ends is None else f" [{100 * ends[0, 0]:.1f}, {100 * ends[1, 0]:.1f}]"
    return f"{100 * values.mean():.1f}{interval}"


if __name__ == "__main__":
    main()

"""Train every method of the package on one split, with three seeds, and score all of them on one pool of test chains.

python bench/studies/methods.py --store STORE --folder runs/methods  # hours on two cores; again to go on
python bench/studies/methods.py --epochs 1 --seeds 42 --methods champion lstm  # the sample, minutes

The chains are dealt into training, validation and test. Training chooses its best epoch on validation; nothing is
chosen on test, which the table is about. Most methods share one recipe, "phase 1, every position", and differ from it
by what their line says; the reference's three phases, each of which goes on from the one before, and the champion have
recipes of their own. A context of more vectors asks the same questions with more to read. What a question's chain has
said before is left out of its candidates. Hits are averaged over seeds, query by query; intervals resample whole
chains, differences are paired.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast._util.process import prepare_for_training
from lvm_fast.cli.info import describe_installation
from lvm_fast.evaluation.baselines import closed_forms
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.markdown_table import cell, table
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.predictions import Answer, answer_windows
from lvm_fast.training.checkpoint import RECIPE

KS = (1, 5, 10)
PLAIN = "memory_gru: phase 1, every position"
REFERENCE = "memory_gru: the reference's phase"


class Method(NamedTuple):
    """A line of the table: its differences from the shared recipe, or the packaged recipe that it uses instead.

    Attributes:
        settings: What differs.
        begins_with: The method it begins with.
        context: The vectors it reads.
        recipe: The packaged recipe.
    """

    settings: dict[str, Any]
    begins_with: str | None = None
    context: int = 100
    recipe: str | None = None


COMMON: dict[str, Any] = {
    "objective": "all_positions",
    "min_length": 2,
    "val_stride": 10,
    "batch_size": 4,
    "accumulation_steps": 1,
    "infonce_batch": "effective",
    "infonce_candidates": 4000,
    "alpha_infonce": 10.0,
    "temperature": 0.05,
    "lr": 5e-4,
    "weight_decay": 1e-2,
    "warmup_epochs": 0.5,
    "lr_floor": 0.02,
}
LONG = {"lr": 2e-4, "batch_size": 2}  # a warm start
METHODS = {
    f"{REFERENCE} 1": Method({}, recipe="phase1"),
    f"{REFERENCE} 2": Method({}, f"{REFERENCE} 1", 500, "phase2"),
    f"{REFERENCE} 3": Method({}, f"{REFERENCE} 2", 1000, "phase3"),
    PLAIN: Method({}),
    f"{PLAIN}, whitened": Method({"space": "whitened"}),
    "champion": Method({}, recipe="champion"),
    "recency_mixer: our first champion": Method({}, recipe="recency_mixer"),
    "hard negatives": Method({"enable_hard_negatives": True}),
    "soft negatives": Method({"enable_soft_negatives": True}),
    "16 specialists": Method({"model_type": "specialist_gru", "domains": "clusters"}),
    "context 500": Method(LONG, PLAIN, 500),
    "context 1,000": Method(LONG, PLAIN, 1000),
    "gru": Method({"model_type": "gru"}),
    "lstm": Method({"model_type": "lstm"}),
    "hierarchical_gru": Method({"model_type": "hierarchical_gru"}),
    "amn": Method({"model_type": "amn"}),
    "transformer": Method({"model_type": "transformer"}),
}


def main() -> None:
    prepare_for_training()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="sample", help="a chain store (default: the sample)")
    parser.add_argument("--folder", type=Path, default=Path("runs/methods"), help="where runs are kept")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="METHOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42, 43, 44], help="of weights, order and dropout")
    parser.add_argument("--epochs", type=int, default=2, help="passes over the data (default: %(default)s)")
    parser.add_argument("--pool", type=int, default=1149, help="candidates; at most the rows there are")
    parser.add_argument("--stride", type=int, default=6, help="vectors between questions (default: %(default)s)")
    args = parser.parse_args()

    store = lf.sample() if args.store == "sample" else lf.ChainStore.open(args.store)
    training, held_out, test = lf.split_chains(store, 0.1, 42, test_fraction=0.1)
    asked = Questions(test, args)
    forms = closed_forms(asked.windows(100), training).answers
    hits = {name: [asked.hits(answer)] for name, answer in forms.items()}
    for seed in args.seeds:
        for name in args.methods:
            run = trained(name, seed, training, held_out, args)
            windows = asked.windows(METHODS[name].context)
            hits.setdefault(name, []).append(asked.hits(answer_windows(lf.load_model(run), windows)))
        print("\n".join([*report(asked, hits, list(forms)), ""]), flush=True)
    print(", ".join(f"{name} {value}" for name, value in describe_installation().items()))


class Questions:
    """Asks every method the same questions: the same targets, the same candidates."""

    def __init__(self, store: lf.ChainStore, args: argparse.Namespace) -> None:
        self.store, self._stride = store, args.stride
        windows = self.windows(100)
        size = min(args.pool, len(store.vectors))
        self.pool = Candidates(windows).sized(size, 42)
        self.chains = store.documents_of(windows.chains[self.pool.queries])

    def windows(self, context: int) -> lf.Windows:
        return lf.Windows(self.store, context, self._stride)

    def hits(self, answer: Answer) -> dict[str, NDArray[np.float64]]:
        """Return whether each question finds its target among unread candidates, (Q,) by metric."""
        rank = self.pool.both_ranks({"": answer}).headline[""]
        return {f"hit@{k}": (rank < k).astype(np.float64) for k in KS}


def trained(name: str, seed: int, training: lf.ChainStore, held_out: lf.ChainStore, args: argparse.Namespace) -> Path:
    """Return the folder of the method's run with this seed; train it unless it is there."""
    method, folder = METHODS[name], folder_of(name, seed, args)
    if (folder / "done").exists():
        return folder
    settings: dict[str, Any] = {
        "seed": seed,
        "output_dir": str(folder),
        "resume": (folder / RECIPE).exists(),
        "val_stride": COMMON["val_stride"],
        "tensorboard": False,
        "data": training,
        "validation_data": held_out,
    }
    if method.begins_with:
        settings["warm_start"] = str(trained(method.begins_with, seed, training, held_out, args))
    if method.recipe:
        recipe = lf.Recipe.named(method.recipe, **settings)
    else:
        shared = {"context_length": method.context, "epochs": args.epochs, "patience": args.epochs}
        recipe = lf.Recipe(**COMMON | shared | method.settings | settings)
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    result = lf.train(recipe)
    seconds = sum(row["seconds"] for row in result.history)
    (folder / "done").write_text(json.dumps({"seconds": seconds, "epochs": len(result.history)}))
    return folder


def folder_of(name: str, seed: int, args: argparse.Namespace) -> Path:
    words = "".join(letter if letter.isalnum() else " " for letter in name).split()
    folder: Path = args.folder
    return folder / f"{'-'.join(words)}-{seed}"


def report(asked: Questions, hits: dict[str, list[dict[str, NDArray[np.float64]]]], forms: list[str]) -> list[str]:
    """Return a line for each method: its hits, and the difference to the best closed form and to plain phase 1."""
    mean = {name: {k: np.mean([run[k] for run in runs], axis=0) for k in runs[0]} for name, runs in hits.items()}
    best = max(forms, key=lambda name: mean[name]["hit@5"].mean())
    rows = []
    for name, found in mean.items():
        figures = [with_interval(f"hit@{k}", found[f"hit@{k}"], asked.chains, k == 5) for k in KS]
        others = [best] + ([PLAIN] if PLAIN in mean else [])
        figures += [difference(found, mean[other], asked.chains) if other != name else "" for other in others]
        rows.append([name, str(len(hits[name])), *figures])
    head = ["method", "seeds", *(f"Hit@{k}" for k in KS), f"Hit@5 minus {best}"]
    head += ["Hit@5 minus phase 1"] if PLAIN in mean else []
    words = (
        f"{len(asked.chains):,} questions from {len(np.unique(asked.chains))} test chains, pool {len(asked.pool):,}, "
    )
    return [words + "unread, %, 95% intervals over chains:", "", *table(head, rows)]


def with_interval(metric: str, values: NDArray[np.float64], chains: NDArray[np.int64], shown: bool = True) -> str:
    ends = bootstrap_intervals(values[:, None], chains) if shown else None
    return cell(metric, float(values.mean()), None if ends is None else (ends[0, 0], ends[1, 0]))


def difference(
    one: dict[str, NDArray[np.float64]], other: dict[str, NDArray[np.float64]], chains: NDArray[np.int64]
) -> str:
    values = one["hit@5"] - other["hit@5"]
    ends = bootstrap_intervals(values[:, None], chains)
    return cell("hit@5", float(values.mean()), None if ends is None else (ends[0, 0], ends[1, 0]), signed=True)


if __name__ == "__main__":
    main()

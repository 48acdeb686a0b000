"""Score the closed forms and the champion on every corpus: the same pool size, unread candidates, paired intervals.

python bench/studies/corpora_study.py --folder runs/corpora --output runs/study  # an hour or more
python bench/studies/corpora_study.py --folder runs/corpora --output runs/study --only sotu  # one corpus

`corpora.py` makes the corpora; "sotu" is the sample. A corpus with fewer than 50 test chains is dealt
into five folds by chain, each held out once; others are split once, 60/20/20. Every question has 1,149 candidates: the
answers of all questions, and where they are fewer, random chunks of the training part. What a question's chain has said
before is left out. Means, covariances, decays and everything learned come from the training part; the best epoch and
the strength of what was learned from the validation part. Intervals resample whole chains, differences are paired.

The corpora are dealt into four groups. The general model of three of them, each corpus in its own whitened space, is
what a champion of the fourth may start from, as a user's champion may from the packaged model. Zero-shot, it meets a
corpus of the fourth with nothing but the whitening of its training part and the correction for its hubs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast.cli.info import describe_installation
from lvm_fast.data.folds import Fold, fold_chains
from lvm_fast.evaluation.baselines import closed_forms
from lvm_fast.evaluation.figures import CLOSED_FORMS
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.markdown_table import table
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.predictions import Answer, answer_windows
from lvm_fast.models.in_space import VECTORS
from lvm_fast.spaces import fit_space

POOL, CONTEXT, SEED = 1149, 100, 42
FEW_CHAINS = 50  # in a test part
GROUPS = 4  # of corpora, for zero-shot
CHAMPION, ZERO_SHOT, CORRECTED = "champion", "zero-shot", "whitened_recency, corrected for hubness"


class Scored(NamedTuple):
    """The ranks of the targets of one corpus's questions.

    Attributes:
        ranks: By method, (Q,); 0 is best.
        chains: Which chain each question is of, (Q,).
        seconds: What training took, by method.
        rows: Chunks of the training parts, on average.
    """

    ranks: dict[str, NDArray[np.int64]]
    chains: NDArray[np.int64]
    seconds: dict[str, float]
    rows: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the corpora are")
    parser.add_argument("--output", type=Path, required=True, help="where ranks and tables are kept")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="some of the corpora")
    args = parser.parse_args()
    paths = {"sotu": None} | {path.stem: path for path in sorted(args.folder.glob("*.safetensors"))}
    stores = {name: lf.sample() if path is None else lf.ChainStore.open(path) for name, path in paths.items()}
    found = {}
    for name in args.only or stores:
        found[name] = scored(name, stores, args.output)
        print(f"{name}: {len(found[name].chains):,} questions", flush=True)
    words = in_words(found)
    (args.output / "study.md").write_text(words, encoding="utf-8")
    (args.output / "study.json").write_text(json.dumps(as_numbers(found), indent=2), encoding="utf-8")
    print(words)


def scored(name: str, stores: dict[str, lf.ChainStore], output: Path) -> Scored:
    """Return the ranks of a corpus, all folds together; each fold's are kept, and not computed again."""
    folds, general = list(folds_of(stores[name])), trained_on_others(name, stores, output)
    parts, seconds, rows = [], [], []
    for number, fold in enumerate(folds):
        place = output / name / f"fold-{number}"
        champion, spent = trained(fold, place, start_candidate=str(general))
        corrected, _ = trained(fold, place / "closed-form", model_type="whitened_recency", start_candidate=None)
        parts.append(ranks_of(fold, methods_of(champion, corrected, general, fold.train), place))
        seconds.append(spent)
        rows.append(len(fold.train.vectors))
    methods = [method for method in parts[0] if method != "chains"]
    chains = np.concatenate([part["chains"] + 100_000 * number for number, part in enumerate(parts)])
    ranks = {method: np.concatenate([part[method] for part in parts]) for method in methods}
    return Scored(ranks, chains, {CHAMPION: float(np.mean(seconds))}, float(np.mean(rows)))


def methods_of(
    champion: Any, corrected: Any, general: Path, train: lf.ChainStore
) -> dict[str, Callable[[lf.Windows], Answer]]:
    """Return the methods beside the closed forms by name; each answers windows."""
    return {
        CORRECTED: lambda windows: answer_windows(corrected, windows),
        CHAMPION: lambda windows: answer_windows(champion, windows),
        ZERO_SHOT: lambda windows: answer_windows(at_home(general, train), windows),
    }


def folds_of(store: lf.ChainStore) -> Iterator[Fold]:
    """Yield one split if its test part has many chains, else five folds."""
    dealt = Fold(*lf.split_chains(store, 0.2, SEED, test_fraction=0.2))
    if len(set(dealt.test.origins)) >= FEW_CHAINS:
        yield dealt
    else:
        yield from fold_chains(store, 5, SEED)


def trained(fold: Fold, place: Path, **changes: Any) -> tuple[Any, float]:
    """Return the champion of a fold's training part, and the seconds it took; kept in a folder.

    Args:
        fold: The chains.
        place: The folder.
        changes: Settings other than the champion's.
    """
    saved, clock = place / "model", place / "seconds.json"
    if not clock.exists():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            data, validation = Path(folder, "train.safetensors"), Path(folder, "val.safetensors")
            fold.train.save(data)
            fold.val.save(validation)
            stride = max(1, len(fold.val.vectors) // POOL)
            settings = {"data": str(data), "validation_data": str(validation), "val_stride": stride}
            settings |= {"tensorboard": False} | changes
            recipe = lf.Recipe.named("champion", **settings, output_dir=str(Path(folder, "run")))
            lf.train(recipe).model.save_pretrained(saved)
        clock.write_text(json.dumps(time.perf_counter() - started))
    return lf.load_model(saved), json.loads(clock.read_text())


def ranks_of(
    fold: Fold, answers: dict[str, Callable[[lf.Windows], Answer]], place: Path
) -> dict[str, NDArray[np.int64]]:
    """Ranks of every method in the fold's test part by name, and "chains"; what is known of an earlier run is kept."""
    path = place / "ranks.npz"
    known = dict(np.load(path)) if path.exists() else {}
    if not known or any(name not in known for name in answers):
        windows = lf.Windows(fold.test, CONTEXT, max(1, len(fold.test.vectors) // POOL), 2)
        found = {name: answer(windows) for name, answer in answers.items() if name not in known}
        if not known:
            found |= closed_forms(windows, fold.train).answers
        distractors = None if len(windows) >= POOL else fold.train
        pool = Candidates(windows, distractors).sized(POOL, SEED)
        known |= {**pool.both_ranks(found).headline, "chains": windows.chains[pool.queries]}
        np.savez(path, **known)
    return known


def trained_on_others(name: str, stores: dict[str, lf.ChainStore], output: Path) -> Path:
    """Return the folder of the general model of the three groups that a corpus is not of."""
    group = list(stores).index(name) % GROUPS
    saved = output / f"without-group-{group}"
    if not saved.exists():
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "others.safetensors")
            together({o: store for at, (o, store) in enumerate(stores.items()) if at % GROUPS != group}).save(data)
            settings = {"data": str(data), "space": "raw", "min_coherence": -1.0, "val_stride": 8, "tensorboard": False}
            recipe = lf.Recipe.named("champion", **settings, output_dir=str(Path(folder, "run")))
            lf.train(recipe).model.save_pretrained(saved)
    return saved


def together(stores: dict[str, lf.ChainStore]) -> lf.ChainStore:
    """Join several corpora, each in its own whitened space, into one store."""
    rows = np.concatenate([whitened(store) for store in stores.values()])
    lengths = np.concatenate([store.lengths for store in stores.values()])
    ids = [f"{name}/{chain}" for name, store in stores.items() for chain in store.ids]
    origins = [f"{name}/{chain}" for name, store in stores.items() for chain in store.origins]
    whole = lf.ChainStore(rows, np.concatenate([[0], np.cumsum(lengths)]), ids, origins=origins)
    return whole if np.linalg.norm(rows, axis=1).all() else _without_zero_rows(whole)


def whitened(store: lf.ChainStore) -> NDArray[np.float32]:
    """Map a store's vectors into its own whitened space."""
    space = fit_space(store.vectors)
    assert space is not None  # whitened is its default
    return space.keys(store.vectors)


def _without_zero_rows(store: lf.ChainStore) -> lf.ChainStore:
    kept = np.flatnonzero(np.linalg.norm(np.asarray(store.vectors), axis=1) > 0)
    lengths = np.bincount(store.chain_of(kept), minlength=len(store))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return lf.ChainStore(store.vectors[kept], offsets, store.ids, origins=store.origins)


def at_home(general: Path, train: lf.ChainStore) -> Any:
    """Return a general model adapted to these chains, searching the encoder's vectors."""
    model = lf.load_model(general)
    model.set_space(fit_space(train.vectors))
    model.config["space"]["search"] = VECTORS
    return lf.adapt_to(model, train)


def hits(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return Hit@5 of each question, in percent."""
    return np.multiply(100.0, ranks < 5, dtype=np.float64)


def best_closed_form(found: Scored) -> str:
    return max((name for name in CLOSED_FORMS if name in found.ranks), key=lambda name: hits(found.ranks[name]).mean())


def gain(found: Scored, method: str, over: str) -> tuple[float, float, float]:
    """Return the paired difference of two methods in points of Hit@5, and its 95% interval over chains."""
    difference = hits(found.ranks[method]) - hits(found.ranks[over])
    interval = bootstrap_intervals(difference[:, None], found.chains, 2000, SEED)
    low, high = (np.nan, np.nan) if interval is None else interval[:, 0]
    return float(difference.mean()), float(low), float(high)


def as_numbers(found: dict[str, Scored]) -> dict[str, Any]:
    return {
        name: {
            "pool": POOL,
            "questions": len(one.chains),
            "chains": len(np.unique(one.chains)),
            "training_chunks": one.rows,
            "hit5": {method: float(hits(ranks).mean()) for method, ranks in one.ranks.items()},
            "best_closed_form": best_closed_form(one),
            "gain": {m: gain(one, m, best_closed_form(one)) for m in one.ranks if m not in CLOSED_FORMS},
            "over_copy_last": {m: gain(one, m, "copy_last") for m in one.ranks if m != "copy_last"},
            "seconds": one.seconds,
        }
        for name, one in found.items()
    }


def in_words(found: dict[str, Scored]) -> str:
    """Return the table in Markdown."""
    numbers = as_numbers(found)
    learned = [m for m in next(iter(found.values())).ranks if m not in CLOSED_FORMS]
    head = ["corpus", "training chunks", "questions (chains)", *CLOSED_FORMS]
    for method in learned:
        head += [method, "minus the best closed form"]
    rows = []
    for name, one in numbers.items():
        row = [name, f"{one['training_chunks']:,.0f}", f"{one['questions']:,} ({one['chains']})"]
        row += [f"{one['hit5'][form]:.1f}" for form in CLOSED_FORMS]
        for method in learned:
            row += [f"{one['hit5'][method]:.1f}", "{:+.1f} [{:+.1f}, {:+.1f}]".format(*one["gain"][method])]
        rows.append(row)
    mean = ["mean", "", "", *(f"{np.mean([n['hit5'][form] for n in numbers.values()]):.1f}" for form in CLOSED_FORMS)]
    for method in learned:
        mean += [f"{np.mean([n['hit5'][method] for n in numbers.values()]):.1f}"]
        mean += [f"{np.mean([n['gain'][method][0] for n in numbers.values()]):+.1f}"]
    lines = "\n".join(table(head, [*rows, mean]))
    about = f"Hit@5 in percent, {POOL:,} candidates, unread. {describe_installation().get('cpu', '')}".strip()
    return f"{about}\n\n{lines}\n"


if __name__ == "__main__":
    main()

"""Score the closed forms and the champion on every corpus: the same pool size, unread candidates, paired intervals.

python corpora_study.py --folder runs/corpora --output runs/study               # an hour or more; again to go on
python corpora_study.py --folder runs/corpora --output runs/study --only sotu   # one corpus
python corpora_study.py --folder runs/corpora --output runs/study --zero-shot   # the champion of others, too

`corpora.py` makes the corpora; "sotu" is the bundled sample. A corpus with fewer than 50 test chains is dealt
into five folds by chain, each held out once; others are split once, 60/20/20. Every question has 1,149 candidates: the
answers of all questions, and where they are fewer, random chunks of the training part. What a question's chain has said
before is left out. Means, covariances, decays and everything learned come from the training part; the best epoch and
the strength of what was learned from the validation part. Intervals resample whole chains, differences are paired.

Zero-shot, the corpora are dealt into four groups; the champion of three of them, each corpus in its own whitened space,
meets a corpus of the fourth with nothing but the whitening of its training part.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import lvm_fast as lf
from lvm_fast.cli.info import facts
from lvm_fast.data.folds import Fold, fold_chains
from lvm_fast.evaluation.answers import Answer, answer_windows
from lvm_fast.evaluation.closed_forms import closed_forms
from lvm_fast.evaluation.intervals import bootstrap_intervals
from lvm_fast.evaluation.markdown_table import table
from lvm_fast.evaluation.pools import Candidates
from lvm_fast.evaluation.yardstick import CLOSED_FORMS
from lvm_fast.models.in_space import VECTORS
from lvm_fast.spaces import fit_space

POOL, CONTEXT, SEED = 1149, 100, 42
FEW_CHAINS = 50  # in a test part
GROUPS = 4  # of corpora, for zero-shot
CHAMPION, ZERO_SHOT, RAW_COSINE = "champion", "zero-shot", "champion, plain cosine"


class Scored(NamedTuple):
    """The ranks of the right answers to the questions of one corpus.

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
    parser.add_argument("--zero-shot", action="store_true", help="also train on all corpora but the one that is asked")
    args = parser.parse_args()
    paths = {"sotu": None} | {path.stem: path for path in sorted(args.folder.glob("*.safetensors"))}
    stores = {name: lf.sample() if path is None else lf.ChainStore.open(path) for name, path in paths.items()}
    found = {}
    for name in args.only or stores:
        found[name] = scored(name, stores, args.output, args.zero_shot)
        print(f"{name}: {len(found[name].chains):,} questions", flush=True)
    words = in_words(found)
    (args.output / "study.md").write_text(words, encoding="utf-8")
    (args.output / "study.json").write_text(json.dumps(as_numbers(found), indent=2), encoding="utf-8")
    print(words)


def scored(name: str, stores: dict[str, lf.ChainStore], output: Path, zero_shot: bool) -> Scored:
    """The ranks of a corpus, all folds together; each fold's are kept, and not worked out again."""
    folds, general = list(folds_of(stores[name])), cache(lambda: trained_on_others(name, stores, output))
    parts, seconds, rows = [], [], []
    for number, fold in enumerate(folds):
        place = output / name / f"fold-{number}"
        champion, spent = trained(fold, place)
        answers: dict[str, Callable[[lf.Windows], Answer]] = {
            CHAMPION: lambda windows, model=champion: answer_windows(model, windows),
            RAW_COSINE: lambda windows, model=champion: plain(answer_windows(model, windows)),
        }
        if zero_shot:
            answers[ZERO_SHOT] = lambda windows, train=fold.train: answer_windows(at_home(general(), train), windows)
        parts.append(ranks_of(fold, answers, place))
        seconds.append(spent)
        rows.append(len(fold.train.vectors))
    methods = [method for method in parts[0] if method != "chains"]
    chains = np.concatenate([part["chains"] + 100_000 * number for number, part in enumerate(parts)])
    ranks = {method: np.concatenate([part[method] for part in parts]) for method in methods}
    return Scored(ranks, chains, {CHAMPION: float(np.mean(seconds))}, float(np.mean(rows)))


def folds_of(store: lf.ChainStore) -> Iterator[Fold]:
    """One split where its test part has many chains, else five folds."""
    dealt = Fold(*lf.split_chains(store, 0.2, SEED, test_fraction=0.2))
    if len(set(dealt.test.origins)) >= FEW_CHAINS:
        yield dealt
    else:
        yield from fold_chains(store, 5, SEED)


def trained(fold: Fold, place: Path) -> tuple[Any, float]:
    """The champion of a fold's training part, and the seconds it took; kept in a folder."""
    saved, clock = place / "model", place / "seconds.json"
    if not clock.exists():
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            data, validation = Path(folder, "train.safetensors"), Path(folder, "val.safetensors")
            fold.train.save(data)
            fold.val.save(validation)
            stride = max(1, len(fold.val.vectors) // POOL)
            settings = {"data": str(data), "validation_data": str(validation), "val_stride": stride}
            recipe = lf.Recipe.named("champion", **settings, output_dir=str(Path(folder, "run")), tensorboard=False)
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


def plain(answer: Answer) -> Answer:
    """The same, searched for by the plain cosine of its prediction."""
    return Answer(answer.predicted, answer.predicted)


def trained_on_others(name: str, stores: dict[str, lf.ChainStore], output: Path) -> Any:
    """The champion of the three groups that a corpus is not of, each corpus in its own space; kept in a folder."""
    group = list(stores).index(name) % GROUPS
    saved = output / f"without-group-{group}"
    if not saved.exists():
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "others.safetensors")
            together({o: store for at, (o, store) in enumerate(stores.items()) if at % GROUPS != group}).save(data)
            settings = {"data": str(data), "space": "raw", "min_coherence": -1.0, "val_stride": 8, "tensorboard": False}
            recipe = lf.Recipe.named("champion", **settings, output_dir=str(Path(folder, "run")))
            lf.train(recipe).model.save_pretrained(saved)
    return lf.load_model(saved)


def together(stores: dict[str, lf.ChainStore]) -> lf.ChainStore:
    """One store of several corpora, each in its own whitened space."""
    rows = np.concatenate([fit_space(store.vectors).keys(store.vectors) for store in stores.values()])
    lengths = np.concatenate([store.lengths for store in stores.values()])
    ids = [f"{name}/{chain}" for name, store in stores.items() for chain in store.ids]
    origins = [f"{name}/{chain}" for name, store in stores.items() for chain in store.origins]
    whole = lf.ChainStore(rows, np.concatenate([[0], np.cumsum(lengths)]), ids, origins=origins)
    return whole if np.linalg.norm(rows, axis=1).all() else _without_zero_rows(whole)


def _without_zero_rows(store: lf.ChainStore) -> lf.ChainStore:
    kept = np.flatnonzero(np.linalg.norm(np.asarray(store.vectors), axis=1) > 0)
    lengths = np.bincount(store.chain_of(kept), minlength=len(store))
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return lf.ChainStore(store.vectors[kept], offsets, store.ids, origins=store.origins)


def at_home(model: Any, train: lf.ChainStore) -> Any:
    """A general model in the whitened space of these chains, searching the encoder's vectors."""
    model.set_space(fit_space(train.vectors))
    model.config["space"]["search"] = VECTORS
    return model


def hits(ranks: NDArray[np.int64]) -> NDArray[np.float64]:
    """Hit@5 of each question, in percent."""
    return 100.0 * (ranks < 5)


def best_closed_form(found: Scored) -> str:
    return max((name for name in CLOSED_FORMS if name in found.ranks), key=lambda name: hits(found.ranks[name]).mean())


def gain(found: Scored, method: str, over: str) -> tuple[float, float, float]:
    """The paired difference of two methods in points of Hit@5, and its 95% interval over chains."""
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
    """The table, in Markdown."""
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
    about = f"Hit@5 in percent, {POOL:,} candidates, unread. {facts().get('cpu', '')}".strip()
    return f"{about}\n\n{lines}\n"


if __name__ == "__main__":
    main()

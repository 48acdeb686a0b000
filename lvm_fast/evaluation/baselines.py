"""Baselines that a model has to beat: chance, and closed forms, which train nothing and are as strong as can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._util.numbers import real_number
from ..data.chain_store import ChainStore
from ..data.windows import GivenWindows, query_windows
from ..ops.rowwise import l2_normalize
from ..spaces import Moments, moments_of, space_of
from .pools import Candidates
from .predictions import Answer, Keys, plain_answer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9)
USUAL_DECAYS = {"recency_mean": 0.8, "centred_recency": 0.7, "whitened_recency": 0.7}  # where nothing chooses one
_KINDS = {"centred_recency": "centred", "whitened_recency": "whitened"}
_QUESTIONS = 1000  # that a decay is chosen on
_WIDEST = 4096  # dimensions up to which a covariance is worth its memory and time
_BLOCK = 1 << 16  # rows at a time: at 768 dimensions 200 MB, however many windows there are
_NEGLIGIBLE = 1e-9  # a weight that cannot change a float32 sum of unit vectors


class ClosedForms(NamedTuple):
    """The answers of the closed forms to a set of windows.

    Attributes:
        answers: By name, those of `CLOSED_FORMS`.
        decays: The weight of each chunk beside the one after it, by name.
        fitted_on: What mean, covariance and decays come from, in words.
        notes: Which ones are missing, and why; a sentence each.
    """

    answers: dict[str, Answer]
    decays: dict[str, float]
    fitted_on: str
    notes: list[str]


def closed_forms(windows: Windows, training: ChainStore | None = None, where: str = "evaluate") -> ClosedForms:
    """Answer every window without any training.

    Copying the last vector, and the recency-weighted mean of the context in three spaces: as the encoder gives the
    vectors, centred, and softly whitened. Mean and covariance are those of the training chains, and each decay is the
    one that does best on questions about them; without training chains, they are those of all candidates in the scored
    store, and the decays the usual ones: nothing is ever chosen on the questions that are scored.

    Args:
        windows: The questions.
        training: Chains that the questions are not from.
        where: What messages begin with.

    Raises:
        ValueError: The training chains do not have the width of the windows.
    """
    check_training(training, windows.store.dim, where)
    fitted = windows.store if training is None else training
    keys, notes = _keys(fitted)
    decays = dict(USUAL_DECAYS) if training is None else _best_decays(training, windows.context_length, keys)
    answers = {"copy_last": plain_answer(copy_last(windows))}
    decays = {name: decay for name, decay in decays.items() if name in keys}
    raw = dict(zip(decays, recency_means(windows, list(decays.values())), strict=True))
    for name, decay in decays.items():
        in_space = raw[name] if keys[name] is None else recency_means(windows, (decay,), keys[name])[0]
        answers[name] = Answer(raw[name], in_space, keys[name])
    return ClosedForms(answers, decays, "the candidates" if training is None else "the training part", notes)


def check_training(training: Any, dim: int, where: str) -> None:
    """Raise ValueError, which begins with `where`, unless closed forms of this width can be fitted on it."""
    if training is None:
        return
    if not isinstance(training, ChainStore):
        raise ValueError(f"{where}: training is a {type(training).__name__}; expected a ChainStore or None")
    if training.dim != dim:
        raise ValueError(f"{where}: training has {training.dim} dimensions; expected {dim}, as the store has")


def _keys(store: ChainStore) -> tuple[dict[str, Keys | None], list[str]]:
    """Return the map each recency mean searches in, by name, and notes on those left out."""
    keys: dict[str, Keys | None] = {"recency_mean": None}
    try:
        moments = _moments(store)
    except ValueError as error:
        return keys, [f"Without the centred and the whitened recency mean: {error}."]
    return keys | {name: space_of(moments, kind).keys for name, kind in _KINDS.items()}, []


def _moments(store: ChainStore) -> Moments:
    if store.dim > _WIDEST:
        raise ValueError(f"{store.dim:,} dimensions; expected at most {_WIDEST:,}")
    return moments_of(store.vectors)


def _best_decays(training: ChainStore, context_length: int, keys: dict[str, Keys | None]) -> dict[str, float]:
    """Find the decay with the best Hit@5, and of equals the best MRR, on questions about the training chains."""
    try:
        windows = _sampled(query_windows(training, context_length))
    except ValueError:  # there is not a single question
        return dict(USUAL_DECAYS)
    pool, best = Candidates(windows).targets(), {}
    for name, key_map in keys.items():
        means = recency_means(windows, DECAYS, key_map)
        answers = {f"decay {decay}": Answer(mean, mean, key_map) for decay, mean in zip(DECAYS, means, strict=True)}
        best[name] = _best(pool.both_ranks(answers).headline)
    return best


def _sampled(windows: Windows) -> GivenWindows:
    chosen = np.sort(np.random.default_rng(0).permutation(len(windows))[:_QUESTIONS])
    return GivenWindows(windows.store, windows.starts[chosen], windows.targets[chosen])


def _best(ranks: dict[str, NDArray[np.int64]]) -> float:
    merits = [(float((rank < 5).mean()), float((1 / (rank + 1)).mean())) for rank in ranks.values()]
    return DECAYS[max(range(len(DECAYS)), key=merits.__getitem__)]


def copy_last(windows: Windows) -> NDArray[np.float32]:
    """Predict that the next vector is the current one: the last context vector at unit length, float32 (W, D)."""
    last: NDArray[np.float32] = l2_normalize(windows.store.vectors[windows.targets - 1])
    return last


def recency_mean(windows: Windows, decay: float = 0.8) -> NDArray[np.float32]:
    """Predict the recency-weighted mean of the context: ``l2_normalize(sum(decay**age * vector))``, float32 (W, D).

    The last context vector has age 0. ``decay = 1`` is the plain mean.

    Raises:
        ValueError: If ``decay`` is not in (0, 1].
    """
    return recency_means(windows, (decay,))[0]


def recency_means(
    windows: Windows, decays: Sequence[float], keys: Callable[[Any], NDArray[np.float32]] | None = None
) -> list[NDArray[np.float32]]:
    """Predict the `recency_mean` of every decay, of the vectors that `keys` makes of the store's, if it is given.

    Each row is mapped once a block of windows.

    Raises:
        ValueError: As `recency_mean`.
    """
    for decay in decays:
        if not 0.0 < real_number(decay, f"recency_mean: decay = {decay}") <= 1.0:
            raise ValueError(f"recency_mean: decay = {decay}; expected 0 < decay <= 1")
    vectors = windows.store.vectors
    blocks: list[NDArray[np.float32]] = []
    ages = int(min(windows.lengths.max(), _oldest(max(decays))))
    step = max(1, _BLOCK // ages)
    for first in range(0, len(windows), step):
        starts, targets = windows.starts[first : first + step], windows.targets[first : first + step]
        used = np.unique(np.concatenate([np.arange(max(a, b - ages), b) for a, b in zip(starts, targets, strict=True)]))
        mapped = vectors[used] if keys is None else keys(vectors[used])
        means = np.zeros((len(decays), len(starts), mapped.shape[1]), np.float32)
        for age in range(ages):
            rows = targets - 1 - age
            live = np.flatnonzero(rows >= starts)
            aged = mapped[np.searchsorted(used, rows[live])]
            for mean, decay in zip(means, decays, strict=True):
                if decay**age >= _NEGLIGIBLE:
                    mean[live] += decay**age * aged
        blocks.append(l2_normalize(means))
    return list(np.concatenate(blocks, axis=1))


def _oldest(decay: float) -> float:
    """Return how many vectors of a context count with a decay."""
    return np.inf if decay == 1.0 else np.log(_NEGLIGIBLE) / np.log(decay) + 1


def chance(pool: int | NDArray[Any], ks: Sequence[int] = (1, 5, 10)) -> dict[str, float]:
    """Score a blind draw of candidates from a pool of this size: Hit@k = k / pool, MRR = H(pool) / pool.

    H(n) = 1 + 1/2 + ... + 1/n is the harmonic number: the rank of the target is then uniform. Of several sizes, such
    as those of each query's own pool, it is the mean.
    """
    sizes, counts = np.unique(pool, return_counts=True)
    shares = counts / counts.sum()
    harmonic = np.interp(sizes, np.arange(1, int(sizes.max()) + 2), np.cumsum(1.0 / np.arange(1, int(sizes.max()) + 2)))
    hits = {f"hit@{k}": float((np.minimum(1.0, k / sizes) * shares).sum()) for k in ks}
    return {**hits, "mrr": float((harmonic / sizes * shares).sum())}

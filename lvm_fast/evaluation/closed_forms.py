"""The yardstick: predictors in closed form, which take seconds and learn nothing, each as strong as it can be made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..data.chain_store import ChainStore
from ..data.given_windows import GivenWindows
from ..spaces import Moments, moments_of, space_of
from .answers import Answer, Keys, plain_answer
from .baselines import copy_last, recency_means
from .pools import Candidates
from .questions import question_windows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows

DECAYS = (0.5, 0.6, 0.7, 0.8, 0.9)
USUAL_DECAYS = {"recency_mean": 0.8, "centred_recency": 0.7, "whitened_recency": 0.7}  # where nothing chooses one
_KINDS = {"centred_recency": "centred", "whitened_recency": "whitened"}
_QUESTIONS = 1000  # that a decay is chosen on
_WIDEST = 4096  # dimensions up to which a covariance is worth its memory and time


class ClosedForms(NamedTuple):
    """What the closed forms answer.

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
    """What each recency mean searches in, by name, and which are left out."""
    keys: dict[str, Keys | None] = {"recency_mean": None}
    try:
        moments = _moments(store)
    except ValueError as error:
        return keys, [f"Without the centred and the whitened recency mean: {error}."]
    return keys | {name: space_of(moments, kind).keys for name, kind in _KINDS.items()}, []


def _moments(store: ChainStore) -> Moments:
    if store.dim > _WIDEST:
        raise ValueError(f"{store.dim:,} dimensions are more than {_WIDEST:,}")
    return moments_of(store.vectors)


def _best_decays(training: ChainStore, context_length: int, keys: dict[str, Keys | None]) -> dict[str, float]:
    """The decay with the best Hit@5, and of equals the best MRR, on questions about the training chains."""
    try:
        windows = _sampled(question_windows(training, context_length))
    except ValueError:  # there is not a single question
        return dict(USUAL_DECAYS)
    pool, best = Candidates(windows).targets(), {}
    for name, own in keys.items():
        means = recency_means(windows, DECAYS, own)
        answers = {f"decay {decay}": Answer(mean, mean, own) for decay, mean in zip(DECAYS, means, strict=True)}
        best[name] = _best(pool.both_ranks(answers).headline)
    return best


def _sampled(windows: Windows) -> GivenWindows:
    chosen = np.sort(np.random.default_rng(0).permutation(len(windows))[:_QUESTIONS])
    return GivenWindows(windows.store, windows.starts[chosen], windows.targets[chosen])


def _best(ranks: dict[str, NDArray[np.int64]]) -> float:
    merits = [(float((rank < 5).mean()), float((1 / (rank + 1)).mean())) for rank in ranks.values()]
    return DECAYS[max(range(len(DECAYS)), key=merits.__getitem__)]

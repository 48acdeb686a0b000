"""How well a model predicts the validation windows after every epoch, beside what needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.answers import Answer, answer_windows
from ..evaluation.closed_forms import closed_forms
from ..evaluation.intervals import clusters_of
from ..evaluation.metrics import query_scores
from ..evaluation.pools import Candidates, Pool
from ..evaluation.questions import FEW_CHAINS, what_cannot_be_told
from ..evaluation.yardstick import best_of

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from ..data.windows import Windows
    from .distributed import Processes

_KS = (1, 5, 10)
SMALL_POOL = 5  # candidates up to which every prediction reaches Hit@5


class Validation:
    """The validation windows, their pool, and the scores of the baselines.

    Several processes share the predictions, batch by batch, and all get the scores that one alone would. As in
    `evaluate`, what a question's chain has said before is left out of its candidates, where chains are known.

    Attributes:
        pool: How many candidates there are.
        baselines: Scores of the closed forms ("copy_last", "recency_mean", "centred_recency" and "whitened_recency"),
            as `score` gives them.
        yardstick: The name of the best of them: what the model has to beat.
    """

    def __init__(
        self,
        windows: Windows,
        pool: int | str,
        seed: int,
        batch_size: int,
        processes: Processes,
        training: ChainStore | None = None,
    ) -> None:
        """Score the closed forms.

        Args:
            windows: The validation windows.
            pool: The candidates, as a recipe has them.
            seed: Of a random pool.
            batch_size: Windows a forward pass.
            processes: Those that train together.
            training: The training chains, which mean, covariance and decays of the closed forms are taken from; else
                they come from all validation chunks.
        """
        self.windows = windows
        self._processes = processes
        self._candidates = _candidates(windows, pool, seed)
        self._batch_size = batch_size
        self.pool = len(self._candidates)
        forms = closed_forms(windows, training, "train")
        self._notes = forms.notes
        self.baselines = self._scores(forms.answers)
        self.yardstick = str(best_of(self.baselines, "hit5"))

    def score(self, model: torch.nn.Module) -> dict[str, float]:
        """Return hit1, hit5, hit10 and mrr of a model, in percent, and its mean_cosine with the right answers.

        A model with a space is searched as it searches; the cosine is that of its prediction throughout.
        """
        return self.score_and_hits(model)[0]

    def score_and_hits(self, model: torch.nn.Module) -> tuple[dict[str, float], NDArray[np.float64]]:
        """The scores of a model, and which questions it hits with five candidates, 0 or 1, (Q,)."""
        batches = slice(self._processes.rank, None, self._processes.count)
        own = answer_windows(model, self.windows, self._batch_size, only=batches)
        predicted = self._processes.add_up_array(own.predicted)
        query = predicted if own.keys is None else self._processes.add_up_array(own.query)
        found = self._found({"model": Answer(predicted, query, own.keys)})["model"]
        return _told(found), found["hit@5"]

    def gain(self, hits: NDArray[np.float64], over: NDArray[np.float64]) -> tuple[float, float]:
        """The mean difference of two models' hits, paired, and its standard error over chains."""
        asked = self._candidates.queries
        chains = clusters_of(self.windows.store.origins, self.windows.chains[asked])
        difference = hits - over
        mean = float(difference.mean())
        sums = np.bincount(chains, difference - mean)
        return mean, float(np.sqrt((sums**2).sum()) / len(difference))

    def warnings(self) -> list[str]:
        """What a reader of the scores has to know where they rest on little, a sentence each."""
        asked = self._candidates.queries
        notes = [*self._notes, *what_cannot_be_told(len(asked), self.pool)]
        chains = len(np.unique(clusters_of(self.windows.store.ids, self.windows.chains[asked])))
        if chains < FEW_CHAINS:
            notes.append(f"Only {chains} validation chain{'s' * (chains != 1)}: others may differ much from them.")
        if self.pool <= SMALL_POOL:
            notes.append("The best epoch is chosen by MRR, and where that is 100, by cos(predicted, next).")
        return notes

    def words(self, scores: dict[str, float]) -> str:
        """The scores of an epoch: the hits, and in a pool in which Hit@5 says nothing what decides instead."""
        hits = " ".join(f"Hit@{k}={scores[f'hit{k}']:.2f}" for k in _KS) + f" pool={self.pool}"
        if self.pool > SMALL_POOL or "mrr" not in scores:  # which an older run did not keep of its start
            return hits
        return f"{hits} MRR={scores['mrr']:.2f} cos={scores['mean_cosine']:.4f}"

    def _scores(self, answers: dict[str, Answer]) -> dict[str, dict[str, float]]:
        return {name: _told(found) for name, found in self._found(answers).items()}

    def _found(self, answers: dict[str, Answer]) -> dict[str, dict[str, NDArray[np.float64]]]:
        """The figures of every question, (Q,) by predictor and metric."""
        ranks = self._candidates.both_ranks(answers)
        predicted = {name: answer.predicted for name, answer in answers.items()}
        return query_scores(predicted, ranks.headline, self.windows, self._candidates.queries, _KS)


def _told(found: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """The means of figures, as a log has them."""
    hits = {f"hit{k}": 100.0 * float(found[f"hit@{k}"].mean()) for k in _KS}
    return {**hits, "mrr": 100.0 * float(found["mrr"].mean()), "mean_cosine": float(found["mean_cosine"].mean())}


def _candidates(windows: Windows, pool: int | str, seed: int) -> Pool:
    candidates = Candidates(windows)
    if isinstance(pool, int):
        return candidates.sized(pool, seed)
    return candidates.all() if pool == "store" else candidates.targets()

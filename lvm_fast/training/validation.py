"""Scores a model on the validation windows after every epoch, beside what needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.baselines import closed_forms
from ..evaluation.figures import best_of
from ..evaluation.metrics import FEW_CHAINS, query_scores, small_sample_notes
from ..evaluation.pools import Candidates, Pool
from ..evaluation.predictions import Answer, answer_windows

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from ..data.windows import Windows
    from .distributed import DistributedContext

_KS = (1, 5, 10)
SMALL_POOL = 5  # candidates up to which every prediction reaches Hit@5


class Validation:
    """Holds the validation windows, their pool, and the scores of the baselines.

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
        distributed: DistributedContext,
        training: ChainStore | None = None,
    ) -> None:
        """Score the closed forms.

        Args:
            windows: The validation windows.
            pool: The candidates, as a recipe has them.
            seed: Of a random pool.
            batch_size: Windows a forward pass.
            distributed: The processes that train together.
            training: The training chains, which mean, covariance and decays of the closed forms are taken from; else
                they come from all validation chunks.
        """
        self.windows = windows
        self._distributed = distributed
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
        """Return the scores of a model, and which questions it hits with five candidates, 0 or 1, (Q,)."""
        batches = slice(self._distributed.rank, None, self._distributed.world_size)
        mine = answer_windows(model, self.windows, self._batch_size, only=batches)
        predicted = self._distributed.all_reduce_sum_array(mine.predicted)  # (W, D)
        query = predicted if mine.keys is None else self._distributed.all_reduce_sum_array(mine.query)
        scores = self._query_scores({"model": Answer(predicted, query, mine.keys)})["model"]
        return _percent_means(scores), scores["hit@5"]

    def gain(self, hits: NDArray[np.float64], over: NDArray[np.float64]) -> tuple[float, float]:
        """Return the mean difference of two models' hits, paired, and its standard error over chains."""
        queries = self._candidates.queries
        chains = self.windows.store.documents_of(self.windows.chains[queries])
        difference = hits - over
        mean = float(difference.mean())
        sums = np.bincount(chains, difference - mean)
        return mean, float(np.sqrt((sums**2).sum()) / len(difference))

    def warnings(self) -> list[str]:
        """Warn a reader of the scores where they rest on little, in a sentence each."""
        queries = self._candidates.queries
        notes = [*self._notes, *small_sample_notes(len(queries), self.pool)]
        chains = len(np.unique(self.windows.store.documents_of(self.windows.chains[queries])))
        if chains < FEW_CHAINS:
            notes.append(f"Only {chains} validation chain{'s' * (chains != 1)}: others may differ much from them.")
        if self.pool <= SMALL_POOL:
            notes.append("The best epoch is chosen by MRR, and where that is 100, by cos(predicted, next).")
        return notes

    def describe(self, scores: dict[str, float]) -> str:
        """Say the scores of an epoch: the hits, and in a pool in which Hit@5 says nothing what decides instead."""
        hits = " ".join(f"Hit@{k}={scores[f'hit{k}']:.2f}" for k in _KS) + f" pool={self.pool}"
        if self.pool > SMALL_POOL or "mrr" not in scores:  # which an older run did not keep of its start
            return hits
        return f"{hits} MRR={scores['mrr']:.2f} cos={scores['mean_cosine']:.4f}"

    def _scores(self, answers: dict[str, Answer]) -> dict[str, dict[str, float]]:
        return {name: _percent_means(scores) for name, scores in self._query_scores(answers).items()}

    def _query_scores(self, answers: dict[str, Answer]) -> dict[str, dict[str, NDArray[np.float64]]]:
        """Compute the figures of every question, (Q,) by predictor and metric."""
        ranks = self._candidates.both_ranks(answers)
        predicted = {name: answer.predicted for name, answer in answers.items()}
        return query_scores(predicted, ranks.headline, self.windows, self._candidates.queries, _KS)


def _percent_means(scores: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Average figures, as a log has them."""
    hits = {f"hit{k}": 100.0 * float(scores[f"hit@{k}"].mean()) for k in _KS}
    return {**hits, "mrr": 100.0 * float(scores["mrr"].mean()), "mean_cosine": float(scores["mean_cosine"].mean())}


def _candidates(windows: Windows, pool: int | str, seed: int) -> Pool:
    candidates = Candidates(windows, where="train")
    if isinstance(pool, int):
        return candidates.sized(pool, seed)
    return candidates.all() if pool == "store" else candidates.targets()

"""How well a model predicts the validation windows after every epoch, beside what needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.baselines import copy_last, recency_mean
from ..evaluation.intervals import clusters_of
from ..evaluation.metrics import query_scores
from ..evaluation.pools import Candidates, Pool
from ..evaluation.predictions import predict_windows
from ..evaluation.questions import FEW_CHAINS, what_cannot_be_told

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..data.windows import Windows
    from .distributed import Processes

_KS = (1, 5, 10)
SMALL_POOL = 5  # candidates up to which every prediction reaches Hit@5


class Validation:
    """The validation windows, their pool, and the scores of the baselines.

    Several processes share the predictions, batch by batch, and all get the scores that one alone would.

    Attributes:
        pool: How many candidates there are.
        baselines: Scores of "copy_last" and "recency_mean", as `score` gives them.
    """

    def __init__(self, windows: Windows, pool: int | str, seed: int, batch_size: int, processes: Processes) -> None:
        self.windows = windows
        self._processes = processes
        self._candidates = _candidates(windows, pool, seed)
        self._batch_size = batch_size
        self.pool = len(self._candidates)
        self.baselines = self._scores({"copy_last": copy_last(windows), "recency_mean": recency_mean(windows)})

    def score(self, model: torch.nn.Module) -> dict[str, float]:
        """Return hit1, hit5, hit10 and mrr of a model, in percent, and its mean_cosine with the right answers."""
        batches = slice(self._processes.rank, None, self._processes.count)
        own = predict_windows(model, self.windows, self._batch_size, only=batches)
        return self._scores({"model": self._processes.add_up_array(own)})["model"]

    def warnings(self) -> list[str]:
        """What a reader of the scores has to know where they rest on little, a sentence each."""
        asked = self._candidates.queries
        notes = what_cannot_be_told(len(asked), self.pool)
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

    def _scores(self, predictions: dict[str, NDArray[np.float32]]) -> dict[str, dict[str, float]]:
        ranks = self._candidates.ranks(predictions)
        found = query_scores(predictions, ranks, self.windows, self._candidates.queries, _KS)
        told = {
            **{f"hit{k}": (f"hit@{k}", 100.0) for k in _KS},
            "mrr": ("mrr", 100.0),
            "mean_cosine": ("mean_cosine", 1.0),
        }
        return {
            name: {own: scale * float(scores[metric].mean()) for own, (metric, scale) in told.items()}
            for name, scores in found.items()
        }


def _candidates(windows: Windows, pool: int | str, seed: int) -> Pool:
    candidates = Candidates(windows)
    if isinstance(pool, int):
        return candidates.sized(pool, seed)
    return candidates.all() if pool == "store" else candidates.targets()

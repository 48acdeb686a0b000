"""Hit@K on the validation windows after every epoch, beside what needs no training."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..evaluation.baselines import copy_last, recency_mean
from ..evaluation.pools import Candidates, Pool
from ..evaluation.predictions import predict_windows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from ..data.windows import Windows
    from .distributed import Processes

_KS = (1, 5, 10)


class Validation:
    """The validation windows, their pool, and the scores of the baselines.

    Several processes share the predictions, batch by batch, and all get the scores that one alone would.

    Attributes:
        pool: How many candidates there are.
        baselines: Scores of "copy_last" and "recency_mean", in percent, as `score` gives them.
    """

    def __init__(self, windows: Windows, pool: int | str, seed: int, batch_size: int, processes: Processes) -> None:
        self.windows = windows
        self._processes = processes
        self._candidates = _candidates(windows, pool, seed)
        self._batch_size = batch_size
        self.pool = len(self._candidates)
        self.baselines = self._hits({"copy_last": copy_last(windows), "recency_mean": recency_mean(windows)})

    def score(self, model: torch.nn.Module) -> dict[str, float]:
        """Return hit1, hit5 and hit10 of a model, in percent."""
        batches = slice(self._processes.rank, None, self._processes.count)
        own = predict_windows(model, self.windows, self._batch_size, only=batches)
        return self._hits({"model": self._processes.add_up_array(own)})["model"]

    def _hits(self, predictions: dict[str, NDArray[np.float32]]) -> dict[str, dict[str, float]]:
        ranks = self._candidates.ranks(predictions)
        return {name: {f"hit{k}": 100.0 * float((rank < k).mean()) for k in _KS} for name, rank in ranks.items()}


def _candidates(windows: Windows, pool: int | str, seed: int) -> Pool:
    candidates = Candidates(windows)
    if isinstance(pool, int):
        return candidates.sized(pool, seed)
    return candidates.all() if pool == "store" else candidates.targets()

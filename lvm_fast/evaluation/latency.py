"""Times single predictions: one context at a time, as a user waits for it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._util.numbers import whole_number
from .figures import Latency

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..data.windows import Windows


def latencies(models: Mapping[str, Any], windows: Windows, contexts: int = 40) -> dict[str, Latency]:
    """Time every model on the same contexts, as `prediction_times` does.

    Raises:
        ValueError: `contexts` is below 1.
    """
    chosen, seconds = prediction_times(models, windows, contexts)
    vectors = int(np.median(windows.lengths[chosen]))
    return {
        name: Latency(1e3 * float(np.median(times)), 1e3 * float(np.mean(times)), len(times), vectors)
        for name, times in seconds.items()
    }


def prediction_times(
    models: Mapping[str, Any], windows: Windows, contexts: int
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Time ``model.predict`` of every model on the same contexts, which are spread evenly over all lengths there are.

    The models take turns at each context, so that a busy moment of the machine hits all of them. Each makes two
    predictions beforehand, which pack its weights.

    Args:
        models: Models and routers by name.
        windows: Where the contexts come from.
        contexts: How many contexts, at most those there are.

    Returns:
        The windows timed (S,), shortest first, and the seconds of each model (S,).

    Raises:
        ValueError: `contexts` is below 1.
    """
    contexts = whole_number(contexts, "latencies: contexts")
    if contexts < 1:
        raise ValueError(f"latencies: contexts = {contexts}; expected at least 1")
    by_length = np.argsort(windows.lengths, kind="stable")
    chosen = by_length[np.unique(np.linspace(0, len(by_length) - 1, contexts).round().astype(np.int64))]
    seconds = {name: np.empty(len(chosen)) for name in models}
    for model in models.values():
        for window in chosen[[0, -1]]:  # a router has another arm for each
            model.predict(windows.batch([window]).context)
    for at, window in enumerate(chosen):
        context = windows.batch([window]).context  # (1, n, D)
        for name, model in models.items():
            started = time.perf_counter()
            model.predict(context)
            seconds[name][at] = time.perf_counter() - started
    return chosen, seconds

"""A report with figures made up, for what is written and drawn of one."""

from __future__ import annotations

from typing import Any

from lvm_fast.evaluation.figures import CurvePoint, Interval
from lvm_fast.evaluation.report import Report


def make_report(difference: float = 0.05, half: float = 0.02, chains: int = 20, **changes: Any) -> Report:
    """A report whose model is `difference` better than copy-last, with intervals of +- half."""
    copied = {"hit@1": 0.1, "hit@5": 0.3, "hit@10": 0.4, "mrr": 0.2, "mean_cosine": 0.4, "direction_margin": -0.6}
    model = {metric: value + difference for metric, value in copied.items()}

    def around(values: dict[str, float]) -> dict[str, Interval | None]:
        return {m: None if chains < 2 else (v - half, v + half) for m, v in values.items()}

    apart = around(dict.fromkeys(copied, difference))
    points = [
        CurvePoint(
            pool,
            {"model": h, "copy_last": h / 2, "chance": 5 / pool},
            around({"model": h, "copy_last": h / 2}),
            {"hit@5": h, "hit@10": h + 0.2},
        )
        for pool, h in ((10, 0.9), (230, 0.56), (1149, model["hit@5"]), (5000, 0.1))
    ]
    fields: dict[str, Any] = {
        "model_type": "memory_gru",
        "data": {"split": {"part": "val", "seed": 7, "fraction": 0.1}, "near_duplicates_dropped": 52},
        "context_length": 100,
        "median_context": 90,
        "stride": 50,
        "pool": 1149,
        "pool_words": "the targets of the queries themselves",
        "pool_holds_current": 0.0,
        "queries": 1149,
        "chains": chains,
        "hits": {metric: model[metric] for metric in ("hit@1", "hit@5", "hit@10")},
        "mrr": model["mrr"],
        "mean_cosine": model["mean_cosine"],
        "direction_margin": model["direction_margin"],
        "baselines": {"copy_last": copied, "chance": {"hit@1": 0.001, "hit@5": 0.004, "hit@10": 0.009, "mrr": 0.007}},
        "intervals": {"model": around(model), "copy_last": around(copied), "model - copy_last": apart},
        "curve": points,
        "bootstrap": 1000,
        "seed": 42,
    }
    return Report(**{**fields, **changes})


HISTORY = [{"epoch": i, "hit5": 10.0 * i, "train_loss": 2.0 / i, "pool": 1149} for i in (1, 2, 3)]

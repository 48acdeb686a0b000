"""Banks whose engine is that of a GPU, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from hard_vectors import HARD_SETS as HARD

import lvm_fast as lf
from lvm_fast.retrieval.checked_input import matrix_of
from lvm_fast.retrieval.contents import Contents, Segment
from lvm_fast.retrieval.device_bank import DeviceBank
from lvm_fast.retrieval.device_rows import Place

CPU = torch.device("cpu")
PRODUCTS = (torch.float32, torch.float16, torch.bfloat16)
HARD_SETS = HARD | {
    "numbers of all sizes": lambda rng, size, dim: (
        rng.standard_normal((size, dim)) * 10.0 ** rng.integers(-12, 2, (size, dim))
    ),
    "some zeros": lambda rng, size, dim: rng.standard_normal((size, dim)) * (rng.random((size, 1)) < 0.5),
}


def on(place: Place, vectors: Any, normalize: bool = False, metric: str = "ip") -> lf.VectorBank:
    """A bank whose engine is the device's, at a place."""
    bank, matrix = lf.VectorBank(vectors, normalize, metric=metric), matrix_of(vectors, "vectors")
    engine = DeviceBank(matrix.rows, bank.metric, place)
    bank._hold(Contents((Segment(engine, matrix.given, matrix.rows.rows),)), bank.dim, bank.metric, bank.build)
    return bank


def engine_of(bank: lf.VectorBank) -> type:
    return type(bank._contents.segments[0].core)


def answers(bank: lf.VectorBank, queries: np.ndarray, targets: np.ndarray, metric: str = "ip") -> list[bytes]:
    """Everything that a bank says, as bytes."""
    low, high = (1.0, 40.0) if metric == "l2" else (-0.3, 0.9)
    bounds = bank.pair_scores(queries, targets)
    said = (
        bounds,
        bank.rank(queries, targets),
        bank.rank(queries, targets, max_rank=2),
        *bank.topk(queries, 7),
        *bank.scored_band(queries, low, high, 9, exclude=np.stack([targets, targets * 0 - 1], 1), below=bounds + 0.1),
    )
    return [part.tobytes() for part in said]

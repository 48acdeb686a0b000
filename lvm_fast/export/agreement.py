"""Measures how near the outputs of a package are to its model's, and checks that the two can be compared."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..retrieval.bank import VectorBank
from .exportable import Exportable, describe_model, space_kinds
from .metadata import PackageMetadata
from .probe_inputs import ProbeOutputs

# the error that rounding explains in a unit vector of 768 numbers; measured 1.5e-4 and 8e-8, at 1 to 1,000 steps
_TOLERANCES = {"float16": 5e-4, "float32": 1e-6}
_WIDTH = 768


def checked_rows(vectors: Any, dim: int, where: str) -> NDArray[np.float32]:
    """Return rows to cut contexts from, (T, D). Raises ValueError, beginning with `where`, where they do not fit."""
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != dim:
        raise ValueError(f"{where}: vectors has shape {rows.shape}; expected (T, {dim})")
    return rows


def check_kind(path: str | os.PathLike[str], metadata: PackageMetadata, model: Exportable, where: str) -> None:
    """Raise ValueError where the package holds another kind of model."""
    if (metadata.model_type, metadata.input_dim) != (model.model_type, model.input_dim):
        raise ValueError(
            f"{where}: {path} holds a {metadata.model_type} of width {metadata.input_dim}; "
            f"the model is a {model.model_type} of width {model.input_dim}"
        )
    own = space_kinds(describe_model(model)["config"])
    if metadata.spaces != own:
        raise ValueError(
            f"{where}: {path} holds a model in the space {_space_names(metadata.spaces)}; "
            f"the model's is {_space_names(own)}"
        )


def _space_names(spaces: Sequence[str | None]) -> str:
    return ", ".join(kind or "raw" for kind in spaces)


def tolerance(precision: str, dim: int) -> float:
    """Return the largest error that rounding explains: a narrower unit vector has larger numbers, and errors."""
    return _TOLERANCES[precision] * math.sqrt(_WIDTH / dim)


def largest_error(got: ProbeOutputs, wanted: ProbeOutputs) -> float:
    """Return the largest error of any number; that of a delta longer than 1 is divided by its length."""
    lengths = np.maximum(np.linalg.norm(wanted.delta, axis=1, keepdims=True), 1.0)  # (P, 1)
    deltas = np.abs(got.delta - wanted.delta) / lengths
    errors = [np.abs(mine - exact).max() for mine, exact in zip(got.units, wanted.units, strict=True)]
    return float(np.max([*errors, deltas.max()]))  # NaN if any is


def least_cosine(got: ProbeOutputs, wanted: ProbeOutputs) -> float:
    """Return the least cosine of two unit vectors that should be the same."""
    return float(np.min([(mine * exact).sum(axis=1) for mine, exact in zip(got.units, wanted.units, strict=True)]))


def hit5_agreement(pool: VectorBank, got: ProbeOutputs, wanted: ProbeOutputs, targets: NDArray[np.int64]) -> float:
    """Return the share of contexts where both or neither have the target among the five nearest of the pool."""
    vectors = [np.nan_to_num(outputs.searched) for outputs in (got, wanted)]  # `largest_error` reports NaN
    hits = [pool.rank(queries, targets, max_rank=5) < 5 for queries in vectors]
    return float((hits[0] == hits[1]).mean())

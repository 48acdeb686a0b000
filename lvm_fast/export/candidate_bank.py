"""Puts a bank of candidates into a package, with the function ``topk`` that searches it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._util.did_you_mean import unknown_name
from .._util.numbers import whole_number
from ..data.chain_store import ChainStore
from ..retrieval.bank import VectorBank
from .compression import Quantized, Stored, quantize
from .exportable import Exportable, models_of

if TYPE_CHECKING:
    from .coremltools_compat import Function

BANK_DTYPES = ("float16", "int8")
ROWS_NAME = "bank.rows"  # of the constant


@dataclass(frozen=True)
class CandidateBank:
    """Candidates as a package holds them.

    Attributes:
        rows: The model's `keys` of the vectors, (N, D) float32: in its space, or at unit length where it has none.
        dtype: How they are stored: "float16", or "int8" with a scale for each row.
        k: How many of them ``topk`` finds.
    """

    rows: NDArray[np.float32]
    dtype: str
    k: int

    def stored(self, precision: str) -> Stored:
        """Return the rows as a package of this precision stores them; scales have the precision."""
        return quantize(self.rows, precision) if self.dtype == "int8" else self.rows.astype(np.float16)


def make_bank(vectors: Any, dtype: str, k: int, model: Exportable, where: str) -> CandidateBank:
    """Check candidates and make keys of them.

    Args:
        vectors: A `ChainStore`, or an array or tensor (N, D).
        dtype: How to store them.
        k: How many of them ``topk`` finds.
        model: The model that searches them.
        where: The function to name in messages.

    Raises:
        ValueError: A row or its key is zero or not finite, an argument does not fit, or the models of a router search
            among different keys.
    """
    if dtype not in BANK_DTYPES:
        raise ValueError(f"{where}: {unknown_name('bank_dtype', dtype, BANK_DTYPES)}")
    if isinstance(vectors, ChainStore):
        vectors = vectors.vectors
    checked = VectorBank(vectors, normalize=True)
    if checked.dim != model.input_dim:
        raise ValueError(f"{where}: bank has {checked.dim} dimensions; expected {model.input_dim}, as the model has")
    k = whole_number(k, f"{where}: topk", 1, len(checked))
    return CandidateBank(_keys(model, np.asarray(vectors, np.float32), where), dtype, k)


def _keys(model: Exportable, vectors: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """Return the unit rows (N, D) that the model, or every model of a router, searches among."""
    first, *others = models_of(model)
    keys = first.keys(vectors)
    is_zero = ~keys.any(axis=1)
    if is_zero.any():
        row = int(is_zero.argmax())
        raise ValueError(f"{where}: bank: row {row} is zero among the model's keys; expected a direction")
    has_keys = any(each.has_keys for each in (first, *others))
    if has_keys and any(not np.array_equal(other.keys(vectors), keys) for other in others):
        raise ValueError(f"{where}: bank: the router's arms search in different spaces; export an arm with the bank")
    return keys


def topk_function(bank: CandidateBank, precision: str, target: Any) -> Function:
    """Build ``topk``: ``query`` (1, D) -> ``scores`` (1, K) and ``ids`` (1, K) of the largest inner products."""
    from .coremltools_compat import Function, mb, types
    from .mil.constants import write_constant
    from .mil.layers import cast

    mb.name_count.clear()
    inputs = {"query": mb.placeholder((1, bank.rows.shape[1]), types.fp32)}
    with Function(inputs, opset_version=target) as function:
        rows = cast(write_constant(bank.stored(precision), ROWS_NAME), precision)
        products = mb.matmul(x=cast(function.inputs["query"], precision), y=rows, transpose_y=True)  # (1, N)
        scores, ids = mb.topk(x=products, k=bank.k, axis=-1)
        function.set_outputs([mb.identity(x=cast(scores, "float32"), name="scores"), mb.identity(x=ids, name="ids")])
    return function


def rows_digest(rows: Stored) -> str:
    """Return the SHA-256 of the stored numbers: it tells whether a package still holds the bank it was given."""
    parts = (rows.data, rows.scale) if isinstance(rows, Quantized) else (np.asarray(rows),)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

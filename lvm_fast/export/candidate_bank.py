"""A bank of candidates inside a package: the function ``topk``, which finds those that a prediction points to."""

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
from .exportable import Exportable, arms_of

if TYPE_CHECKING:
    from .coremltools_compat import Function

BANK_DTYPES = ("float16", "int8")
ROWS = "bank.rows"  # the name of the constant


@dataclass(frozen=True)
class Bank:
    """Candidates as a package holds them.

    Attributes:
        rows: The model's `keys` of the vectors, (N, D) float32: in its space, or at unit length where it has none.
        dtype: "float16" or "int8", with a scale for each row: how they are stored.
        k: How many of them ``topk`` finds.
    """

    rows: NDArray[np.float32]
    dtype: str
    k: int

    def stored(self, precision: str) -> Stored:
        """The rows as a package of this precision stores them; scales are of the precision."""
        return quantize(self.rows, precision) if self.dtype == "int8" else self.rows.astype(np.float16)


def read_bank(bank: Any, dtype: str, k: int, model: Exportable, where: str) -> Bank:
    """Check candidates and make keys of them.

    Args:
        bank: A `ChainStore`, or an array or tensor (N, D).
        dtype: How to store them.
        k: How many of them to find.
        model: What searches them.
        where: What messages begin with.

    Raises:
        ValueError: A row is not finite or is zero, or so is its key, or an argument does not fit; or the arms of a
            router search among different keys.
    """
    if dtype not in BANK_DTYPES:
        raise ValueError(f"{where}: {unknown_name('bank_dtype', dtype, BANK_DTYPES)}")
    vectors = bank.vectors if isinstance(bank, ChainStore) else bank
    checked = VectorBank(vectors, normalize=True)
    if checked.dim != model.input_dim:
        raise ValueError(f"{where}: bank has {checked.dim} dimensions; expected {model.input_dim}, as the model has")
    k = whole_number(k, f"{where}: topk", 1, len(checked))
    return Bank(_keys(model, np.asarray(vectors, np.float32), where), dtype, k)


def _keys(model: Exportable, vectors: NDArray[np.float32], where: str) -> NDArray[np.float32]:
    """What the model, or every arm of a router, searches among: (N, D), unit rows."""
    first, *others = arms_of(model)
    keys = first.keys(vectors)
    zero = ~keys.any(axis=1)
    if zero.any():
        found = f"row {int(zero.argmax())} is zero among the model's keys"
        raise ValueError(f"{where}: bank: {found}; expected a direction")
    if any(arm.has_keys for arm in (first, *others)) and any(
        not np.array_equal(arm.keys(vectors), keys) for arm in others
    ):
        raise ValueError(f"{where}: bank: the router's arms search in different spaces; export an arm with the bank")
    return keys


def topk_function(bank: Bank, precision: str, target: Any) -> Function:
    """``query`` (1, D) -> ``scores`` (1, K) and ``ids`` (1, K) of the rows with the largest inner products."""
    from .coremltools_compat import Function, mb, types
    from .mil.constants import write_constant
    from .mil.layers import cast

    mb.name_count.clear()
    inputs = {"query": mb.placeholder((1, bank.rows.shape[1]), types.fp32)}
    with Function(inputs, opset_version=target) as function:
        rows = cast(write_constant(bank.stored(precision), ROWS), precision)
        products = mb.matmul(x=cast(function.inputs["query"], precision), y=rows, transpose_y=True)  # (1, N)
        scores, ids = mb.topk(x=products, k=bank.k, axis=-1)
        function.set_outputs([mb.identity(x=cast(scores, "float32"), name="scores"), mb.identity(x=ids, name="ids")])
    return function


def digest(rows: Stored) -> str:
    """SHA-256 of the stored numbers, by which a package tells whether its bank is still the one it was given."""
    parts = (rows.data, rows.scale) if isinstance(rows, Quantized) else (np.asarray(rows),)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part).tobytes() for part in parts)).hexdigest()

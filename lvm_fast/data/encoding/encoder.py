"""What an encoder is, and how its answers are checked."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from ..number_formats import Float32, check_rows

FLOAT32 = "float32"
_BATCH_TOKENS = 8192  # of an encoder that does not say


class Encoder(Protocol):
    """A text encoder as `encode_documents` needs it; `SentenceEncoder` is one.

    It may have more, which is used where it is there: `precision`, the name of the numbers that it computes with,
    "float32" unless it says so, and `in_float32()`, the same encoder in float32 (see `check_precision`); `batch_tokens`
    and `batch_size`, the most tokens and the most texts that it takes at once; and `tokenize(texts)`, whose result
    `encode_tokens` turns into vectors: texts are then tokenised in a thread ahead.

    Attributes:
        name: what the store's metadata call it.
        max_tokens: the most tokens it reads of a text, or None.
    """

    name: str
    max_tokens: int | None

    def encode(self, texts: list[str]) -> Any:
        """Return vectors (n, D) of n texts, as numpy reads them."""

    def count_tokens(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word."""


def precision_of(encoder: Encoder) -> str:
    """Return the name of the numbers that an encoder computes with."""
    return str(getattr(encoder, "precision", FLOAT32))


def batch_limits(encoder: Encoder) -> tuple[int, int]:
    """Return the most tokens, padding included, and the most texts that an encoder takes at once."""
    tokens = getattr(encoder, "batch_tokens", None) or _BATCH_TOKENS
    return tokens, getattr(encoder, "batch_size", None) or tokens


def unit_rows(encoded: Any, count: int, name: str) -> Float32:
    """Return an encoder's answer to `count` texts as float32 rows of length 1 (n, D); a zero row stays zero.

    Raises:
        ValueError: it is of another shape.
    """
    rows: Float32 = np.asarray(encoded, dtype=np.float32)
    if rows.ndim != 2 or len(rows) != count or not rows.shape[1]:
        raise ValueError(f"{name}: gave shape {rows.shape} for {count} texts; expected ({count}, D)")
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    units: Float32 = np.divide(rows, norms, out=np.zeros_like(rows), where=norms != 0)
    return units


def checked_rows(encoder: Encoder, texts: list[str], where: str, first: int = 0) -> Float32:
    """Encode texts into unit rows (n, D) that have a direction; errors say `where`, and count rows from `first`.

    Raises:
        ValueError: the encoder gives NaN, a zero vector or another shape.
    """
    rows = unit_rows(encoder.encode(texts), len(texts), encoder.name)
    check_rows(rows, f"{encoder.name}: {where}", first)
    return rows

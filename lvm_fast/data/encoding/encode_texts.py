"""Encodes the texts that are not kept yet, batch by batch, each kept at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from ..._util.read_ahead import read_ahead
from ..number_formats import Float32, check_rows
from .batches import sorted_batches
from .encoder import Encoder, batch_limits, unit_rows
from .kept_rows import KeptRows
from .processes import Processes


class _Batch(NamedTuple):
    """Texts to encode at once: their places among all, and what the encoder's `tokenize` made of them."""

    places: list[int]
    texts: list[str]
    tokens: Any


def encode_texts(
    texts: Sequence[str],
    keys: Sequence[bytes],
    kept: KeptRows,
    encoder: Encoder,
    processes: Processes,
    place_of: Callable[[str], tuple[str, int]],
    advance: Callable[[int], Any],
) -> None:
    """Encode this process's share of different texts, and keep the vectors.

    Args:
        texts: N texts, the same in every process.
        keys: their `text_key`s.
        kept: what is kept already, and takes the rest.
        encoder: what encodes them.
        processes: those that share the texts.
        place_of: says in which document a text stands, and where; for errors.
        advance: is told how many texts were encoded.

    Raises:
        ValueError: the encoder gives NaN, a zero vector or another shape.
    """
    for batch in read_ahead(_batches(texts, keys, kept, encoder, processes)):
        quick: Any = encoder
        encoded = encoder.encode(batch.texts) if batch.tokens is None else quick.encode_tokens(batch.tokens)
        rows = unit_rows(encoded, len(batch.texts), encoder.name)
        _check(rows, batch, encoder, place_of)
        kept.add([keys[place] for place in batch.places], rows)
        advance(len(batch.texts))


def _batches(
    texts: Sequence[str], keys: Sequence[bytes], kept: KeptRows, encoder: Encoder, processes: Processes
) -> Iterator[_Batch]:
    """Give the batches of this process, without what is kept already."""
    tokenize = getattr(encoder, "tokenize", None)
    is_kept = [key in kept for key in keys]  # before the first is added
    if all(is_kept):
        return
    for number, places in enumerate(sorted_batches(texts, encoder.count_tokens, *batch_limits(encoder))):
        missing = [place for place in places if not is_kept[place]]
        if missing and number % processes.world_size == processes.rank:
            chosen = [texts[place] for place in missing]
            yield _Batch(missing, chosen, None if tokenize is None else tokenize(chosen))


def _check(rows: Float32, batch: _Batch, encoder: Encoder, place_of: Callable[[str], tuple[str, int]]) -> None:
    """Raise ValueError for the first vector without a direction; it names the document, and the row in it."""
    try:
        check_rows(rows, encoder.name)
    except ValueError:
        for row, text in enumerate(batch.texts):
            document, place = place_of(text)
            check_rows(rows[row : row + 1], f"{encoder.name}: document {document!r}", place)
        raise

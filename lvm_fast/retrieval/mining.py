"""Hard negatives of every chunk of a store: chunks much like it, but not so much that they may mean the same."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .._util.atomic_files import atomic_path, check_output
from .._util.numbers import real_number, truth_value, whole_number
from ..data.chain_store import ChainStore
from ..data.number_formats import Int64
from ..data.safetensors_file import TensorWriter
from ..data.source import files_of, open_source
from .bank import VectorBank
from .mined import FORMAT, MinedNegatives

_BLOCK_ROWS = 1536  # chunks mined at once: what a run that is cut off repeats
_MOST_EXCLUDED = 1 << 24  # ids of one block's excluded chunks: 128 MB
_MOST_LIMIT = 4096


@dataclass(frozen=True)
class _Settings:
    """The keyword arguments of `mine`, checked."""

    low: float
    high: float
    limit: int
    below: float | None
    exclude_within: int
    exclude_chain: bool

    @classmethod
    def checked(cls, low: Any, high: Any, limit: Any, below: Any, exclude_within: Any, exclude_chain: Any) -> _Settings:
        """Return the settings as plain Python numbers. Raises ValueError for the first that does not fit."""
        low, high = real_number(low, "mine: low"), real_number(high, "mine: high")
        if low >= high:
            raise ValueError(f"mine: low, high = {low}, {high}; expected two cosines, low below high")
        share = None if below is None else real_number(below, "mine: below")
        if share is not None and share <= 0:
            raise ValueError(f"mine: below = {share}; expected a share above 0 of the positive's score, or None")
        return cls(
            low,
            high,
            whole_number(limit, "mine: limit", 1, _MOST_LIMIT),
            share,
            whole_number(exclude_within, "mine: exclude_within", 0),
            truth_value(exclude_chain, "mine: exclude_chain"),
        )


def mine(
    data: Any,
    output: str | os.PathLike[str],
    *,
    low: float = 0.75,
    high: float = 0.9,
    limit: int = 16,
    below: float | None = None,
    exclude_within: int = 1,
    exclude_chain: bool = False,
    progress: bool = True,
    overwrite: bool = False,
) -> MinedNegatives:
    """Find the hard negatives of every chunk of a store, exactly, and write them to one `.safetensors` file.

    Each chunk i (row of the store) is a query: wanted are other chunks with low <= cosine < high, best first, equal
    scores to the lower row. Finished blocks are kept in the folder `<output>.partial` under a digest of store and
    settings until the file is written: the same call again goes on from there, and ends in the same bytes.

    Args:
        data: a `ChainStore` of T rows, the path of one, or "sample".
        output: the file to write: "ids" (T, limit) int64, padded with -1, "scores" (T, limit) float32, padded with
            -infinity, and metadata: the settings and the store's fingerprint.
        low, high: the band of cosines.
        limit: at most so many negatives a chunk.
        below: also cosine < below * the chunk's cosine with the next chunk of its chain, its positive; 0.95 is usual,
            None for no such bound. The last chunk of a chain has no positive and no such bound.
        exclude_within: never chunks of the same chain up to so many places away; 1 keeps the positive out, 0 only the
            chunk itself.
        exclude_chain: never chunks of the same chain.
        progress: show a bar on a terminal.
        overwrite: replace a file that is there already.

    Returns:
        The file, opened.

    Raises:
        ValueError: a setting out of range, no chain store, a row with NaN or Inf, or of zeros, or an output that is the
            data.
        FileExistsError: the output is there, and `overwrite` is False.
        OSError: a file cannot be read or written.
    """
    settings = _Settings.checked(low, high, limit, below, exclude_within, exclude_chain)
    output = Path(output)
    check_output(output, "mine: output", files_of(data), overwrite)
    store = open_source(data, "mine: data")
    fingerprint = store.fingerprint()
    block = _block_rows(store, settings)
    partial = output.with_name(f"{output.name}.partial")
    partial.mkdir(exist_ok=True)
    digest = hashlib.sha256(json.dumps([fingerprint, asdict(settings), block]).encode()).hexdigest()[:16]
    kept = {first: partial / f"{digest}-{first}.npy" for first in range(0, len(store.vectors), block)}
    _mine_missing(store, settings, kept, block, progress)
    _join(kept, output, len(store.vectors), block, settings, fingerprint)
    for path in kept.values():
        path.unlink()
    with suppress(OSError):  # blocks of other settings, or what is not ours, stay
        partial.rmdir()
    return MinedNegatives.open(output, store)


def _block_rows(store: ChainStore, settings: _Settings) -> int:
    """Fewer chunks at once where each has many others to exclude."""
    longest = int(store.lengths.max())
    widest = longest if settings.exclude_chain else min(longest, 2 * settings.exclude_within + 1)
    return max(1, min(_BLOCK_ROWS, _MOST_EXCLUDED // widest))


def _mine_missing(store: ChainStore, settings: _Settings, kept: dict[int, Path], block: int, progress: bool) -> None:
    """Mine the blocks whose file is not there yet, each saved when it is whole."""
    from .._util.terminal import progress_bar

    total = len(store.vectors)
    missing = [first for first, path in kept.items() if not path.exists()]
    for first in kept.keys() - missing:
        _kept_block(kept[first], min(block, total - first), settings.limit)  # damage is told before the work
    left = sum(min(block, total - first) for first in missing)
    if not missing:
        return
    bank = VectorBank(store.vectors, normalize=True, build="search")
    with progress_bar(total, "chunk", None if progress else False, initial=total - left) as bar:
        for first in missing:
            rows = np.arange(first, min(first + block, total))
            mined = _mine_block(store, bank, rows, settings)
            content = BytesIO()  # numpy's own way into a file does not say that the disk is full
            np.save(content, mined)
            with atomic_path(kept[first]) as temporary:
                temporary.write_bytes(content.getbuffer())
            bar.update(len(rows))


def _mine_block(store: ChainStore, bank: VectorBank, rows: Int64, settings: _Settings) -> npt.NDArray[np.void]:
    """Return the hard negatives of adjoining rows (B,): (B,) records of ids and scores, each (limit,)."""
    queries = store.vectors.select(slice(int(rows[0]), int(rows[-1]) + 1))
    scores, ids = bank.scored_band(
        queries,
        settings.low,
        settings.high,
        settings.limit,
        exclude=excluded_rows(store, rows, None if settings.exclude_chain else settings.exclude_within),
        below=None if settings.below is None else settings.below * _positive_scores(store, bank, rows),
    )
    mined = np.empty(len(rows), _record(settings.limit))
    mined["ids"], mined["scores"] = -1, -np.inf
    mined["ids"][:, : ids.shape[1]], mined["scores"][:, : ids.shape[1]] = ids, scores  # a small store has fewer
    return mined


def _kept_block(path: Path, rows: int, limit: int) -> npt.NDArray[np.void]:
    """Return a saved block of so many rows, mapped."""
    try:
        mined: npt.NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
        if mined.dtype == _record(limit) and mined.shape == (rows,):
            return mined
    except (ValueError, EOFError):
        pass
    raise ValueError(f"mine: {path}: damaged; expected {rows} rows of an earlier run; delete it to mine them again")


def _record(limit: int) -> np.dtype[np.void]:
    return np.dtype([("ids", "<i8", (limit,)), ("scores", "<f4", (limit,))])


def excluded_rows(store: ChainStore, rows: Int64, within: int | None) -> Int64:
    """Return the rows of the same chain up to so many places from each of `rows` (B,), itself among them; None for all.

    Returns:
        (B, E), padded with -1.
    """
    chains = store.chain_of(rows)
    begins, ends = store.offsets[chains], store.offsets[chains + 1]
    if within is not None:
        reach = min(within, len(store.vectors))
        begins, ends = np.maximum(begins, rows - reach), np.minimum(ends, rows + reach + 1)
    ids: Int64 = begins[:, None] + np.arange((ends - begins).max())
    return np.where(ids < ends[:, None], ids, -1)


def _positive_scores(store: ChainStore, bank: VectorBank, rows: Int64) -> npt.NDArray[np.float64]:
    """(B,) cosine of each row and the next of its chain; infinite for the last row of a chain."""
    last = rows + 1 == store.offsets[store.chain_of(rows) + 1]
    queries = store.vectors.select(slice(int(rows[0]), int(rows[-1]) + 1))
    return np.where(last, np.inf, bank.pair_scores(queries, np.where(last, rows, rows + 1)))


def _join(kept: dict[int, Path], output: Path, total: int, block: int, settings: _Settings, fingerprint: str) -> None:
    """Return all blocks, streamed into one file."""
    limit = settings.limit
    layout: dict[str, tuple[str, tuple[int, ...]]] = {"ids": ("I64", (total, limit)), "scores": ("F32", (total, limit))}
    metadata = FORMAT | {"settings": json.dumps(asdict(settings)), "store": fingerprint}
    with atomic_path(output) as temporary, TensorWriter(temporary, layout, metadata) as file:
        for first, path in kept.items():
            mined = _kept_block(path, min(block, total - first), limit)
            file.put("ids", first, mined["ids"])
            file.put("scores", first, mined["scores"])

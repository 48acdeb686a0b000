"""Splitting a store by chain, so that no document, and no copy of a passage, is on both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .._util.numbers import real_number, whole_number
from .._util.registry import Registry
from .chain_names import free_mark
from .chain_store import ChainStore
from .number_formats import Float32, Int64
from .vectors import Vectors

ALIKE = 0.995  # the cosine from which on two chunks are near-duplicates

# What a split asks of the room above: it reads stores, so it is found by name.
RETRIEVAL: Registry[Callable[[Vectors, Vectors], Float32]] = Registry(
    "part of retrieval", "lvm_fast.retrieval", {"best_cosines": ".near_duplicates:best_cosines"}
)


def split_chains(
    store: ChainStore,
    val_fraction: float = 0.1,
    seed: int = 42,
    test_fraction: float = 0.0,
    near_duplicate: float | None = ALIKE,
) -> tuple[ChainStore, ...]:
    """Deal whole chains to training, validation and, with `test_fraction`, test.

    Chains of one origin, the pieces of a chain that was cut before, go together: where this says chain, it means them.
    The fractions are of rows, met as nearly as chains allow: the chains are walked in a random order that `seed` alone
    decides, each that still fits is taken, and one more if that comes closer. The validation part does not depend on
    `test_fraction`. Chains without rows vanish.

    Then near-duplicates across parts are removed: a validation chunk whose cosine with any chunk of the other parts is
    at least `near_duplicate` is dropped, and so is such a test chunk, until no near pair is left between any two parts.
    The chain is cut there, since what remains on both sides are no neighbours. Its pieces have its `origins`, and names
    of their own: `id#1`, `id#2`, ..., with more marks where a chain is called so.

    Args:
        store: C chains of T rows (T, D).
        val_fraction: share of the rows for validation, above 0 and below 1.
        seed: decides which chains, and nothing else does.
        test_fraction: share of the rows for a third part; 0 for none.
        near_duplicate: the cosine from which chunks count as the same; None keeps all.

    Returns:
        (train, val) or (train, val, test), ChainStores of their own rows with chains in the order of `store`. In the
        metadata, "split" tells part, seed, fraction and rows, "near_duplicates_dropped" how many chunks were removed.

    Raises:
        ValueError: a fraction or the seed out of range, too few chains with rows, or a part that near-duplicates leave
            empty.

    Example:
        >>> store = ChainStore(np.eye(20, dtype=np.float32), offsets=[0, 5, 10, 15, 20])
        >>> train, val = split_chains(store, val_fraction=0.25)
        >>> len(train), len(val), len(val.vectors)
        (3, 1, 5)
    """
    if near_duplicate is not None:
        near_duplicate = real_number(near_duplicate, "split_chains: near_duplicate")
        if near_duplicate <= 0:
            raise ValueError(f"split_chains: near_duplicate = {near_duplicate}; expected a cosine above 0, or None")
    seed = whole_number(seed, "split_chains: seed", least=0)
    val_fraction = real_number(val_fraction, "split_chains: val_fraction")
    test_fraction = real_number(test_fraction, "split_chains: test_fraction")
    parts = _deal(store, {"val": val_fraction, **({"test": test_fraction} if test_fraction else {})}, seed)
    stores = {name: part_of(store, chains) for name, chains in parts.items()}
    # Validation gives way to training and test, test to training: so validation is the same whatever the test fraction.
    for name in list(stores)[1:]:
        others = [stores[other] for other in stores if other != name and (name, other) != ("test", "val")]
        stores[name] = without_near_duplicates(stores[name], others, name, store.ids, near_duplicate)
    for name, part in stores.items():
        asked = {"train": 1 - val_fraction - test_fraction, "val": val_fraction, "test": test_fraction}[name]
        part.metadata["split"] = {"part": name, "seed": seed, "fraction": round(asked, 6), "rows": len(part.vectors)}
    return tuple(stores.values())


def _deal(store: ChainStore, fractions: dict[str, float], seed: int) -> dict[str, Int64]:
    """Return the chains (sorted) of "train" and of each part in `fractions`."""
    for name, fraction in fractions.items():
        if not 0 < fraction < 1:
            raise ValueError(f"split_chains: {name}_fraction = {fraction}; expected above 0 and below 1")
    if sum(fractions.values()) >= 1:
        raise ValueError(f"split_chains: the fractions {fractions} leave nothing for training; expected a sum below 1")
    filled = np.flatnonzero(store.lengths)
    groups: dict[str, list[int]] = {}
    for chain in filled.tolist():
        groups.setdefault(store.origins[chain], []).append(chain)
    lengths = {chains[0]: int(store.lengths[chains].sum()) for chains in groups.values()}
    if len(groups) <= len(fractions):
        raise ValueError(f"split_chains: {len(groups)} chains with rows; expected at least {len(fractions) + 1}")
    left = np.random.default_rng(seed).permutation(np.array(list(lengths)))  # of each group the first chain
    parts: dict[str, Int64] = {}
    for name, fraction in fractions.items():
        if len(left) < 2:
            raise ValueError(f"split_chains: {len(left)} chain is left for {name} and training; expected more chains")
        taken = _take(np.array([lengths[chain] for chain in left.tolist()]), fraction * len(store.vectors))
        parts[name], left = left[taken], left[~taken]
    firsts = {"train": left, **parts}
    whole = {chains[0]: chains for chains in groups.values()}
    return {
        name: np.sort(np.concatenate([whole[first] for first in chosen.tolist()])) for name, chosen in firsts.items()
    }


def _take(lengths: Int64, wanted: float) -> npt.NDArray[np.bool_]:
    """Choose chains, walked in order, that sum up to `wanted` rows; at least one, and at least one is left over."""
    taken = np.zeros(len(lengths), dtype=bool)
    rows, spare = 0, len(lengths) - 1
    for at, length in enumerate(lengths.tolist()):
        if spare and rows + length <= wanted:
            taken[at] = True
            rows, spare = rows + length, spare - 1
    misses = np.where(taken, np.inf, np.abs(rows + lengths - wanted))
    closest = int(np.argmin(misses))
    if not rows or (spare and misses[closest] < wanted - rows):
        taken[closest] = True
    return taken


def part_of(store: ChainStore, chains: Int64) -> ChainStore:
    """Make the store of some of the chains, in order."""
    ids, origins = ([names[chain] for chain in chains] for names in (store.ids, store.origins))
    return store.pieces(store.offsets[chains], store.offsets[chains + 1], ids, store.metadata, origins)


def without_near_duplicates(
    part: ChainStore,
    others: Sequence[ChainStore],
    name: str,
    taken: Sequence[str],
    near_duplicate: float | None = ALIKE,
) -> ChainStore:
    """Cut `part` where a chunk is a near-duplicate of one in `others`; no piece is called by an id that is taken."""
    kept = np.ones(len(part.vectors), dtype=bool)
    limit = np.inf if near_duplicate is None else near_duplicate
    for other in others if limit <= 1 else ():
        kept &= RETRIEVAL.load("best_cosines")(part.vectors, other.vectors) < limit
    if not kept.any():
        raise ValueError(f"split_chains: every chunk of the {name} part is a near-duplicate; expected distinct chains")
    cut = part if kept.all() else _cut(part, kept, taken)
    cut.metadata["near_duplicates_dropped"] = int(np.count_nonzero(~kept))
    return cut


def _cut(part: ChainStore, kept: npt.NDArray[np.bool_], taken: Sequence[str]) -> ChainStore:
    """Return the runs of kept rows within each chain; a chain that lost rows gives pieces `id#1`, `id#2`, ..."""
    begins = np.zeros(len(kept) + 1, dtype=bool)
    begins[part.offsets] = True  # a run ends where a chain does, and before each dropped row
    starts = np.flatnonzero(kept & (begins[:-1] | ~np.roll(kept, 1)))
    stops = np.flatnonzero(kept & (begins[1:] | ~np.roll(kept, -1))) + 1
    chains = part.chain_of(starts)
    numbers = np.arange(len(chains)) - np.searchsorted(chains, chains) + 1
    whole = stops - starts == part.lengths[chains]

    def pieces(mark: str) -> list[str]:
        cut = zip(chains[~whole].tolist(), numbers[~whole].tolist(), strict=True)
        return [f"{part.ids[chain]}{mark}{number}" for chain, number in cut]

    named = iter(pieces(free_mark("#", pieces, taken)))
    ids = [part.ids[chain] if uncut else next(named) for chain, uncut in zip(chains, whole, strict=True)]
    return part.pieces(starts, stops, ids, part.metadata, [part.origins[chain] for chain in chains])

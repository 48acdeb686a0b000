"""What each process of `test_sharded.py` runs under torchrun: it asks a bank spread over 4, and notes what it hears."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist

import lvm_fast as lf
from lvm_fast.retrieval.sharded import ShardedBank

EDGES = (0, 60, 61, 150, 211)  # uneven shards, one of a single row
MOST = (None, 1, 5)
KS = (1, 10, 100, 211)  # below and beyond what a shard holds


def questions() -> tuple[Any, Any, Any]:
    """Vectors (211, 24) full of copies, within shards and across; queries (41, 24), some of them too; targets (41,)."""
    rng = np.random.default_rng(5)
    vectors = np.resize(rng.standard_normal((45, 24)), (211, 24)).astype(np.float32)
    queries = np.concatenate([vectors[:20], rng.standard_normal((21, 24)).astype(np.float32)])
    return vectors, queries, rng.integers(0, 211, 41)


def answers(bank: Any) -> dict[str, Any]:
    """Everything the tests compare, of a `VectorBank` or a `ShardedBank` over the vectors."""
    _, queries, targets = questions()
    found = {f"rank {most}": bank.rank(queries, targets, most) for most in MOST}
    for k in KS:
        found[f"scores {k}"], found[f"ids {k}"] = bank.topk(queries, k)
    rng = np.random.default_rng(4)
    size, count = len(bank), len(queries)
    filters: dict[str, Any] = {
        "exclude": rng.integers(-1, size, (count, 5)),
        "exclude_ranges": np.sort(rng.integers(0, size + 1, (count, 2, 2))),
        "allow": rng.random((count, size)) < 0.1,
    }
    found["filtered ranks"] = bank.rank(queries, targets, **filters)
    found["filtered scores"], found["filtered ids"] = bank.topk(queries, 7, **filters)
    found["hits"] = np.array(lf.hit_at_k(queries, targets, (3,), bank, **filters)["hit@3"])
    return found | {"no queries": bank.rank(queries[:0], targets[:0])}


def message(call: Callable[[], Any]) -> str:
    try:
        call()
    except (ValueError, RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    return "no error"


class Broken:
    """The contents of a bank that fails in the middle of the work."""

    def __init__(self, contents: Any) -> None:
        self.pair_scores, self.count, self.segments = contents.pair_scores, contents.count, contents.segments

    def rank(self, *_: Any) -> None:
        raise RuntimeError("out of luck")


def errors(here: int) -> dict[str, str]:
    """What each process is told when one of them, or all, ask wrongly."""
    vectors, queries, targets = questions()
    mine = vectors[EDGES[here] : EDGES[here + 1]].copy()
    bank = ShardedBank(mine, EDGES[here])
    bad = mine.copy()
    bad[0, 0] = np.nan
    told = {
        "a row with NaN": lambda: ShardedBank(bad if here == 3 else mine, EDGES[here]),
        "no shard": lambda: ShardedBank(mine[:0] if here == 1 else mine, EDGES[here]),
        "overlap": lambda: ShardedBank(mine, EDGES[here] - (here == 2)),
        "negative": lambda: ShardedBank(mine, EDGES[here] - (here == 0)),
        "other width": lambda: ShardedBank(mine[:, : 24 - (here == 1)], EDGES[here]),
        "queries of other width": lambda: bank.rank(queries[:, : 24 - (here == 1)], targets),
        "other queries": lambda: bank.rank(queries + here, targets),
        "other filters": lambda: bank.topk(queries, 3, exclude=np.full((len(queries), 1), here)),
        "a bad filter": lambda: bank.rank(queries, targets, allow=np.ones(211 - (here == 3), bool)),
        "other targets": lambda: bank.rank(queries, targets if here < 3 else targets[::-1]),
        "other calls": lambda: bank.rank(queries, targets) if here < 2 else bank.topk(queries, 3),
        "target": lambda: bank.rank(queries, targets + 211),
        "targets": lambda: bank.rank(queries, targets[:-1]),
        "k": lambda: bank.topk(queries, 212),
        "pickle": lambda: pickle.dumps(bank),
        "NaN query": lambda: bank.topk(np.full_like(queries, np.nan), 3),
    }
    found = {name: message(call) for name, call in told.items()}
    contents = bank._shard._contents
    if here == 2:
        bank._shard._contents = Broken(contents)  # type: ignore[assignment]
    found["in the middle"] = message(lambda: bank.rank(queries, targets))
    bank._shard._contents = contents
    found["and then"] = str(bank.rank(queries, targets).tolist())  # the processes are still in step
    found["copied"] = str(copy.deepcopy(bank).rank(queries, targets).tolist())
    found["one query"] = str(bank.rank(queries[7].astype(float), np.int64(targets[7])))
    return found


def main(folder: Path) -> None:
    dist.init_process_group("gloo")
    here = dist.get_rank()
    vectors, _, _ = questions()
    first, last = EDGES[here : here + 2]
    for normalize in (False, True):
        bank = ShardedBank(vectors[first:last], first, normalize)
        np.savez(folder / f"answers-{normalize}-{here}.npz", **answers(bank))
    found = errors(here) | {"repr": repr(bank), "len": str(len(bank))}
    pair = dist.new_group([1, 3])
    edges = {1: (100, 211), 3: (0, 100)}.get(here, (0, 1))  # shards need not come in the order of processes
    found["outsider"] = message(lambda: ShardedBank(vectors[slice(*edges)], edges[0], group=pair))
    if here in (1, 3):
        np.savez(folder / f"pair-{here}.npz", **answers(ShardedBank(vectors[slice(*edges)], edges[0], group=pair)))
    (folder / f"errors-{here}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

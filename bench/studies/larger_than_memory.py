"""How fast does a bank answer that is larger than the memory it may take? Makes one, asks it, and deletes it.

python bench/studies/larger_than_memory.py FOLDER  # 2,000,000 random vectors, 800 MB of memory
python bench/studies/larger_than_memory.py FOLDER --vectors 10000000 --max-memory 4e9 --build search

The store and the packed bank take 6 bytes a number in FOLDER while the study runs. Before each question the system
forgets the file, so that it comes from the disk; the rate is that of the bytes which the question reads, beside the
disk's own. Memory is what the process holds of the file, sampled every 5 ms (Linux).
"""

from __future__ import annotations

import argparse
import os
import re
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lvm_fast as lf
from lvm_fast.cli.info import describe_installation
from lvm_fast.data.safetensors_file import TensorWriter

BLOCK = 1 << 16


class Answer(NamedTuple):
    """Seconds it took, and the most bytes of files in memory meanwhile."""

    seconds: float
    memory: int
    result: Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where there is room")
    parser.add_argument("--vectors", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=768)
    parser.add_argument("--queries", type=int, default=1149)
    parser.add_argument("--max-memory", type=float, default=8e8, help="bytes (default: 800 MB)")
    parser.add_argument("--build", choices=("fast", "search"), default="fast")
    args = parser.parse_args()
    print(describe_installation())
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        store, packed = Path(folder, "store.safetensors"), Path(folder, "bank.safetensors")
        began = time.perf_counter()
        generate(store, args.vectors, args.dim)
        vectors = lf.ChainStore.open(store).vectors
        print(f"generated {store.stat().st_size / 1e9:.1f} GB in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        lf.VectorBank.pack(packed, vectors, build=args.build)
        print(f"packed {packed.stat().st_size / 1e9:.1f} GB in {time.perf_counter() - began:.0f} s")
        targets = np.random.default_rng(1).integers(0, args.vectors, args.queries)
        queries = vectors[targets] + np.random.default_rng(2).standard_normal((args.queries, args.dim), np.float32)
        print(f"the disk reads {disk_rate(packed) / 1e9:.2f} GB/s")
        report(packed, queries, targets, int(args.max_memory))
        report(packed, queries, targets, None)


def generate(path: Path, count: int, dim: int) -> None:
    """Write a store of random vectors, float16, in one chain."""
    rng = np.random.default_rng(0)
    layout = {"offsets": ("I64", (2,)), "vectors": ("F16", (count, dim))}
    metadata = {"format": "lvm_fast.ChainStore", "version": "1", "ids": '["all"]', "metadata": "{}"}
    with TensorWriter(path, layout, metadata) as writer:
        writer.put("offsets", 0, np.array([0, count], np.int64))
        for first in range(0, count, BLOCK):
            rows = rng.standard_normal((min(BLOCK, count - first), dim), np.float32)
            writer.put("vectors", first, rows.astype(np.float16))


def report(path: Path, queries: np.ndarray, targets: np.ndarray, max_memory: int | None) -> None:
    """Print what each question takes, and check that all find the target."""
    limit = "no limit" if max_memory is None else f"at most {max_memory / 1e9:.1f} GB"
    calls: dict[str, Callable[[lf.VectorBank], Any]] = {
        "top-10": lambda bank: bank.topk(queries, 10)[1][:, 0],
        "full ranks": lambda bank: bank.rank(queries, targets),
    }
    for name, call in calls.items():
        forget(path)
        bank = lf.VectorBank.open(path, max_memory=max_memory)
        size = -(-bank.dim // 64) * 64 * len(bank)  # the plane of codes that is read from end to end
        took = measured(partial(call, bank))
        del bank  # what is mapped would not be forgotten
        assert np.array_equal(took.result, targets if name == "top-10" else np.zeros(len(targets)))
        rate = f"{size / took.seconds / 1e9:.2f} GB/s of codes, {len(queries) / took.seconds:.0f} queries/s"
        print(f"{limit}: {name} in {took.seconds:.1f} s ({rate}), {took.memory / 1e9:.2f} GB of the file in memory")


def measured(call: Callable[[], Any]) -> Answer:
    done, seen, before = threading.Event(), [0], mapped_bytes()

    def watch() -> None:
        while not done.wait(0.005):
            seen.append(mapped_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.perf_counter()
    result = call()
    seconds = time.perf_counter() - began
    done.set()
    watcher.join()
    return Answer(seconds, max(seen) - before, result)


def mapped_bytes() -> int:
    """Bytes of files in this process's memory."""
    found = re.search(r"RssFile:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return 0 if found is None else 1024 * int(found[1])


def forget(path: Path) -> None:
    """Let the system drop what it keeps of a file."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_rate(path: Path) -> float:
    """Bytes a second of reading the file from end to end, at most 2 GB of it."""
    forget(path)
    buffer, read = bytearray(8 << 20), 0
    began = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        while read < 2e9 and (count := file.readinto(buffer)):
            read += count
    return read / (time.perf_counter() - began)


if __name__ == "__main__":
    main()

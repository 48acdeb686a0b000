"""Times `encode` with each precision beside the library's own loop in batches of 32, in turn, in one process.

python bench/encode.py ENCODER TEXTS.jsonl.gz  # lines {"id", "chunks"}
python bench/encode.py ENCODER TEXTS.jsonl.gz --precision float32 int8 --chunks 96 --repeats 5

A figure is the minimum of the repeats, in chunks a second of processor time: other work on the machine then disturbs
it little. The last column is the mean cosine with float32.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from sentence_transformers import SentenceTransformer

from lvm_fast.cli.info import describe_installation
from lvm_fast.data.documents import read_documents
from lvm_fast.data.encoding.precision_gate import sample_runs
from lvm_fast.data.sentence_encoder import PRECISIONS, SentenceEncoder


def ways_of(encoder: str, precisions: list[str]) -> dict[str, Callable[[list[str]], Any]]:
    """Return what is timed, by name."""
    library = SentenceTransformer(encoder, device="cpu")
    ways: dict[str, Callable[[list[str]], Any]] = {
        "sentence-transformers, batches of 32": lambda texts: library.encode(texts, batch_size=32)
    }
    for precision in precisions:
        ways[f"lvm_fast, {precision}"] = SentenceEncoder(encoder, precision=precision).encode
    return ways


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder")
    parser.add_argument("texts")
    parser.add_argument("--precision", nargs="+", default=["float32", "int8"], choices=PRECISIONS)
    parser.add_argument("--chunks", type=int, default=96)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    runs = sample_runs([document.chunks for document in read_documents([args.texts])])
    texts = [text for run in runs for text in run][:: max(1, sum(map(len, runs)) // args.chunks)][: args.chunks]
    ways = ways_of(args.encoder, args.precision)
    seconds = {name: float("inf") for name in ways}
    rows: dict[str, Any] = {}
    for _ in range(args.repeats):
        for name, encode in ways.items():
            began = time.process_time()
            rows[name] = np.asarray(encode(texts))
            seconds[name] = min(seconds[name], time.process_time() - began)
    first, *_ = ways
    print(*(f"{name}: {value}" for name, value in describe_installation().items()), sep="\n")
    print("| way | chunks a second of processor time | ratio | mean cosine |\n|---|--:|--:|--:|")
    for name in ways:
        cosine = np.einsum("td,td->t", _unit(rows[name]), _unit(rows[first])).mean()
        ratio = seconds[first] / seconds[name]
        print(f"| {name} | {len(texts) / seconds[name]:.1f} | {ratio:.2f}x | {cosine:.4f} |")


def _unit(rows: Any) -> Any:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    main()

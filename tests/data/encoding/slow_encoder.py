"""Encodes DOCUMENTS into the store that the command line names, a little slowly; alone, or as torchrun starts it.

What it was asked is appended to the file `asked` in the store's folder, a line a text.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_documents
from lvm_fast.training.distributed import distributed_context

DOCUMENTS = [Document(f"d{chain}", chunks=tuple(f"{chain} {place}" for place in range(30))) for chain in range(10)]


class SlowEncoder:
    name, batch_size = "slow", 7
    max_tokens: int | None = None

    def __init__(self, log: Path, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def encode(self, texts: list[str]) -> Any:
        time.sleep(self.seconds)
        with open(self.log, "a") as file:
            file.write("".join(f"{text}\n" for text in texts))
        seeds = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(16) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


if __name__ == "__main__":
    output, seconds = Path(sys.argv[1]), float(sys.argv[2])
    with distributed_context("cpu") as processes:
        log = output.with_name(f"asked-{processes.rank}")
        encode_documents(DOCUMENTS, SlowEncoder(log, seconds), output, processes=processes, progress=False)

"""Feeds changed files to everything that reads files: `python tests/fuzz/fuzz.py TARGET|all SECONDS [--seed N]`.

A target reads a file. Whatever the file holds, it is read, or it is a mistake of the input in one of `MISTAKES`;
anything else is a fault, kept in the file that the message names. With --keep, what makes the reader end at a new place
joins the corpus (tests/fuzz/corpus), which later runs begin with.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import time
import traceback
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch

import lvm_fast as lf
from lvm_fast.training.recipe import Recipe

CORPUS = Path(__file__).with_name("corpus")
MISTAKES = (ValueError, OSError)
MOST_BYTES = 60_000  # of an input that joins the corpus
ROWS = np.random.default_rng(0).standard_normal((12, 8)).astype(np.float32)
LENGTHS = [0, 1, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1]


class Target(NamedTuple):
    """A reader of files.

    Attributes:
        suffix: Of the file's name.
        write: Writes a good file to start from.
        read: Reads a file, and uses what it holds.
    """

    suffix: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]


def write_store(path: Path) -> None:
    lf.ChainStore.write(path, ROWS, [0, 5, 12], ids=["a", "b"], metadata={"encoder": "e"})


def read_store(path: Path) -> None:
    store = lf.ChainStore.open(path)
    store.check()
    _ = [store[name] for name in store.ids[:2]]


def read_bank(path: Path) -> None:
    lf.VectorBank.open(path).topk(ROWS[:1], 1)


def write_npz(path: Path) -> None:
    contexts = np.stack([ROWS[:5], ROWS[1:6]])
    np.savez(path, context_sequences=contexts, target_vectors=ROWS[5:7])


def write_jsonl(path: Path) -> None:
    lines = [{"id": "a", "text": "Some words. And more."}, {"id": "b", "chunks": ["x", "y é"]}]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_checkpoint(path: Path) -> None:
    model = made_model()
    torch.save({"model_type": "gru", "model_state_dict": model.state_dict(), "config": model.config}, path)


def made_model() -> Any:
    return lf.create_model("gru", input_dim=8, hidden_dim=4, num_layers=1)


def read_model_folder(path: Path) -> None:
    """Read the weights of a saved model."""
    folder = path.with_name("model")
    if not folder.exists():
        made_model().save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(path.read_bytes())
    lf.load_model(folder)


def write_weights(path: Path) -> None:
    made_model().save_pretrained(path.with_name("seed"))
    path.write_bytes((path.with_name("seed") / "model.safetensors").read_bytes())


def write_recipe(path: Path) -> None:
    path.write_text(Recipe.named("champion", data="sample").to_yaml())


def write_mined(path: Path) -> None:
    lf.mine(lf.ChainStore(ROWS, [0, 5, 12]), path, low=-1, high=1, limit=3, progress=False)


TARGETS = {
    "store": Target(".safetensors", write_store, read_store),
    "bank": Target(".safetensors", lambda path: lf.VectorBank(ROWS).save(path), read_bank),
    "sequences": Target(".npz", write_npz, lf.ChainStore.from_sequences),
    "documents": Target(".jsonl", write_jsonl, lambda path: list(lf.read_documents([path]))),
    "checkpoint": Target(".pt", write_checkpoint, lf.load_model),
    "weights": Target(".safetensors", write_weights, read_model_folder),
    "recipe": Target(".yaml", write_recipe, Recipe.from_yaml),
    "mined": Target(".safetensors", write_mined, lambda path: lf.retrieval.mined.MinedNegatives.open(path)),
}


def changed(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Return the bytes with one to four changes."""
    content = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(content) + 1)
        if chance.random() < 0.5:  # headers are at the front
            place = min(place, chance.randrange(400))
        match chance.randrange(8):
            case 0:
                content[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                if content:
                    content[min(place, len(content) - 1)] ^= 1 << chance.randrange(8)
            case 2:
                del content[place : place + chance.choice([1, 2, 8, 100])]
            case 3:
                del content[place:]
            case 4:
                content[place:place] = content[place : place + chance.choice([1, 4, 32])]
            case 5:
                content[place : place + 8] = chance.choice(LENGTHS).to_bytes(8, "little")
            case 6:
                content[place:place] = str(chance.choice([*LENGTHS, -1, 1e308, "null", "[]", "{}", '"'])).encode()
            case 7:
                other = chance.choice(others)
                start = chance.randrange(len(other) + 1)
                content[place : place + 16] = other[start : start + chance.choice([4, 16, 64])]
    return bytes(content)


def outcome(target: Target, path: Path) -> str:
    """Read the file; tell where that ended.

    Raises:
        Exception: What is no mistake of the input.
    """
    try:
        target.read(path)
    except MISTAKES as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} {Path(last.filename).name}:{last.lineno}"
    return "read"


def fuzz(name: str, seconds: float, seed: int, keep: Path | None) -> dict[str, Any]:
    """Run one target for so many seconds; new inputs are kept in a folder, or not at all."""
    target, chance = TARGETS[name], random.Random(seed)
    with TemporaryDirectory() as place:
        path = Path(place, f"input{target.suffix}")
        target.write(path)
        inputs, seen = [path.read_bytes()], set()
        inputs += [file.read_bytes() for file in sorted((CORPUS / name).glob("*"))]
        runs, ends = 0, time.monotonic() + seconds
        while time.monotonic() < ends or runs < len(inputs):
            data = inputs[runs] if runs < len(inputs) else changed(chance.choice(inputs), inputs, chance)
            path.write_bytes(data)
            runs += 1
            try:
                found = outcome(target, path)
            except Exception as error:
                kept = Path(f"fault-{name}-{hashlib.sha256(data).hexdigest()[:12]}")
                kept.write_bytes(data)
                raise AssertionError(f"{name}: {type(error).__name__}, see {kept.absolute()}") from error
            if runs == 1 and found != "read":
                raise AssertionError(f"{name}: the good file is not read: {found}")
            if found not in seen:
                seen.add(found)
                if len(data) <= MOST_BYTES and runs > len(inputs):
                    inputs.append(data)
                    if keep is not None:
                        (keep / name).mkdir(parents=True, exist_ok=True)
                        (keep / name / f"{zlib.crc32(data):08x}").write_bytes(data)
    return {"target": name, "inputs": runs, "ends": len(seen)}


def main(words: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="let what ends at a new place join the corpus")
    args = parser.parse_args(words)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for name in TARGETS if args.target == "all" else [args.target]:
        print(json.dumps(fuzz(name, args.seconds, args.seed, CORPUS if args.keep else None)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])

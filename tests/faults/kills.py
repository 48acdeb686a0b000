"""Kills a job at random moments and prints how often what it left was whole: `kills.py JOB KILLS FOLDER SEED`.

A job that replaces a file saves one of two versions in turn: after a kill the old or the new one is there, whole. A job
that goes on where it was is started again and again until it is done: its result is that of an undisturbed run. In the
end no temporary name is left. With `together` for KILLS two processes save at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open

import lvm_fast as lf
from lvm_fast.data.documents import Document
from lvm_fast.data.encode import encode_documents

ROWS = np.random.default_rng(0).standard_normal((2, 600, 16)).astype(np.float32)
OFFSETS = list(range(0, 601, 60))
DOCUMENTS = [Document(f"d{chain}", chunks=tuple(f"{chain} {place}" for place in range(20))) for chain in range(6)]


class Job(NamedTuple):
    """What is killed.

    Attributes:
        run: Does the work in the folder; for a job that replaces, of version 0 or 1.
        replaces: Whether it replaces what is there; else it goes on where it was.
        parts_alone: Whether the files get their names one by one, so that each alone is old or new.
    """

    run: Callable[[Path, int], object]
    replaces: bool = True
    parts_alone: bool = False


class HashEncoder:
    """Unit vectors that follow from the texts alone."""

    name, batch_size = "hashes", 7
    max_tokens: int | None = None

    def encode(self, texts: list[str]) -> Any:
        seeds = [list(hashlib.sha256(text.encode()).digest()) for text in texts]
        return np.stack([np.random.default_rng(seed).standard_normal(16) for seed in seeds])

    def count_tokens(self, words: list[str]) -> list[int]:
        return [1] * len(words)


def made_store(version: int) -> lf.ChainStore:
    return lf.ChainStore(ROWS[version], OFFSETS)


def made_model(version: int) -> Any:
    torch.manual_seed(version)
    return lf.create_model("gru", input_dim=16, hidden_dim=16, num_layers=1)


def save_router(folder: Path, version: int) -> None:
    lf.Router({3: made_model(version), 9: made_model(version + 2)}, unit="vectors").save_pretrained(folder / "router")


def export(folder: Path, version: int) -> None:
    lf.export_coreml(made_model(version), folder / "m.mlpackage", contexts=(4,), streaming=False, overwrite=True)


def export_coreai(folder: Path, version: int) -> None:
    lf.export_coreai(made_model(version), folder / "m.aimodel", contexts=(4,), streaming=False, overwrite=True)


def train(folder: Path, version: int) -> None:
    recipe = lf.Recipe(
        data=made_store(0),
        model_type="memory_gru",
        model={"hidden_dim": 8, "num_layers": 1, "memory_slots": 4},
        context_length=5,
        epochs=4,
        batch_size=16,
        device="cpu",
        output_dir=str(folder / "run"),
        resume=(folder / "run" / "recipe.yaml").exists(),
    )
    lf.train(recipe)


def mine(folder: Path, version: int) -> None:
    lf.mine(made_store(0), folder / "mined.safetensors", low=-1, high=1, progress=False, overwrite=True)


def encode(folder: Path, version: int) -> None:
    encode_documents(DOCUMENTS, HashEncoder(), folder / "s.safetensors", progress=False, overwrite=True)


JOBS = {
    "store": Job(lambda folder, version: made_store(version).save(folder / "s.safetensors")),
    "bank": Job(lambda folder, version: lf.VectorBank(ROWS[version]).save(folder / "b.safetensors")),
    "model": Job(lambda folder, version: made_model(version).save_pretrained(folder / "model"), parts_alone=True),
    "router": Job(save_router),
    "export": Job(export),
    "coreai": Job(export_coreai),
    "train": Job(train, replaces=False),
    "mine": Job(mine, replaces=False),
    "encode": Job(encode, replaces=False),
}


def state_of(folder: Path, job: str) -> dict[str, str]:
    """Return a digest of each file that the job's user sees; logs and times differ between runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            found[name] = digest(path)
    if job == "train":
        weights = lf.load_model(folder / "run").state_dict()
        return {name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest() for name, tensor in weights.items()}
    return found


def digest(path: Path) -> str:
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # the order of its metadata is random
        with safe_open(path, "numpy") as file:
            parts = [(name, file.get_tensor(name).tobytes()) for name in sorted(file.keys())]
            content = repr([sorted((file.metadata() or {}).items()), parts]).encode()
    if path.name == "Manifest.json":  # its identifiers are random
        content = b",".join(sorted(entry["path"].encode() for entry in json.loads(content)["itemInfoEntries"].values()))
    return hashlib.sha256(content).hexdigest()


def run_in_a_child(job: Job, folder: Path, version: int, after: float | None = None) -> tuple[bool, float]:
    """Run the job in a process of its own, killed after so many seconds; tells whether it ended first, and its time."""
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        try:
            job.run(folder, version)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"the job failed by itself after kills in {folder}")
    return os.WIFEXITED(status), time.monotonic() - started


def left_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob(".*"))


def main(name: str, kills: int, folder: Path, seed: int) -> dict[str, Any]:
    job, moments = JOBS[name], random.Random(seed)
    states = []
    for version in (0, 1):
        _, seconds = run_in_a_child(job, folder, version)
        states.append(state_of(folder, name))
        if not job.replaces:
            shutil.rmtree(folder)
            folder.mkdir()
    killed = finished = rounds = 0
    seen = {"old or new": 0, "left behind": 0}
    while killed < kills:
        version = rounds % 2 if job.replaces else 0
        done, _ = run_in_a_child(job, folder, version, moments.uniform(0, 1.1 * seconds))
        rounds += 1
        killed += not done
        finished += done
        seen["left behind"] += bool(left_in(folder))
        if job.replaces:
            check_replaced(state_of(folder, name), states, job)
        elif done:
            check_equal(state_of(folder, name), states[0])
            shutil.rmtree(folder)
            folder.mkdir()
        seen["old or new"] += 1
    run_in_a_child(job, folder, 0)
    check_equal(state_of(folder, name), states[0])
    if left_in(folder):
        raise SystemExit(f"left behind: {left_in(folder)}")
    return {"job": name, "killed": killed, "ended first": finished, **seen}


def together(name: str, folder: Path) -> dict[str, Any]:
    """Let two processes save at once, eight times each; in the end one of the two versions is there, whole."""
    job, states = JOBS[name], []
    for version in (0, 1):
        run_in_a_child(job, folder, version)
        states.append(state_of(folder, name))

    def eight_times(place: Path, version: int) -> None:
        for _ in range(8):
            job.run(place, version)

    child = os.fork()
    if child == 0:
        run_in_a_child(Job(eight_times), folder, 0)
        os._exit(0)
    run_in_a_child(Job(eight_times), folder, 1)
    if os.waitpid(child, 0)[1] != 0:
        raise SystemExit("one of the two failed")
    check_replaced(state_of(folder, name), states, job)
    if left_in(folder):
        raise SystemExit(f"left behind: {left_in(folder)}")
    return {"job": name, "saves": 16}


def check_replaced(found: dict[str, str], states: list[dict[str, str]], job: Job) -> None:
    if job.parts_alone:
        whole = found.keys() == states[0].keys() and all(
            value in (states[0][file], states[1][file]) for file, value in found.items()
        )
    else:
        whole = found in states
    if not whole:
        raise SystemExit(f"neither the old nor the new: {found}, not one of {states}")


def check_equal(found: dict[str, str], expected: dict[str, str]) -> None:
    if found != expected:
        raise SystemExit(f"another result than that of an undisturbed run: {found}, not {expected}")


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[3])
    place.mkdir(parents=True)
    if sys.argv[2] == "together":
        print(json.dumps(together(sys.argv[1], place)))
    else:
        print(json.dumps(main(sys.argv[1], int(sys.argv[2]), place, int(sys.argv[4]))))

"""Count the files of lvm_fast that a reader passes from a store to a rank, and from a recipe to a training step.

A file counts once a function of it has run on the way: imports do not count, nor does what runs only because a module
is loaded. Each way is walked twice in small, and traced the second time, when everything has been loaded. The first
way ends as soon as the first ranks are known, the second after the first optimiser step.

Two counts: all files, and those of the rooms that the way leads through. The floor (helpers, kernels, layers, and the
insides of models) is what a reader may trust without looking.

    python bench/studies/tools/walk.py [--list]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import lvm_fast as lf

PACKAGE = Path(lf.__file__).resolve().parent
ROOMS = ("data", "retrieval", "spaces", "inference", "evaluation", "training")
ROOMS_OF_OLD_FILES = {"scoring.py": "retrieval", "_questions.py": "retrieval", "sharded.py": "retrieval"}  # of 0.1


class Arrived(BaseException):
    """The end of a way: no handler of errors may stop it."""


def passed(walk: Callable[[], Any], ends_with: str | None) -> list[str]:
    """The files, in order, whose functions run until one called `ends_with` has returned; or until `Arrived`."""
    files: dict[str, None] = {}

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(str(PACKAGE)):
            return
        if event == "call":
            files.setdefault(str(Path(code.co_filename).relative_to(PACKAGE)))
        elif code.co_name == ends_with:
            raise Arrived

    sys.setprofile(note)
    try:
        walk()
    except Arrived:
        pass
    finally:
        sys.setprofile(None)
    return list(files)


def is_in_a_room(file: str) -> bool:
    """Whether a file is of the rooms that a way leads through."""
    return ROOMS_OF_OLD_FILES.get(file, file.partition("/")[0]) in ROOMS


def store_of(chains: int, length: int, dim: int) -> lf.ChainStore:
    """Chains of random vectors."""
    vectors = np.random.default_rng(0).standard_normal((chains * length, dim)).astype(np.float32)
    return lf.ChainStore(vectors, np.arange(chains + 1) * length)


def evaluate_once(store: lf.ChainStore) -> None:
    """From a store to ranks."""
    model = lf.create_model("memory_gru", input_dim=8, hidden_dim=8, num_layers=1, memory_slots=4)
    lf.evaluate(model, store, context_length=5)


def train_once(place: Path, number: int) -> None:
    """From a recipe to a step."""
    sizes = {"hidden_dim": 8, "num_layers": 1, "memory_slots": 4}
    recipe = lf.Recipe(
        data=str(place / "store.safetensors"),
        output_dir=str(place / f"run{number}"),
        model_type="memory_gru",
        model=sizes,
        context_length=5,
        batch_size=4,
        epochs=1,
        tensorboard=False,
    )
    lf.train(recipe)


def arrive(*_: Any) -> None:
    """Stop after the first step of an optimiser."""
    raise Arrived


def main() -> None:
    """Walk both ways and print what was passed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the files, in the order in which they are passed")
    args = parser.parse_args()
    torch.manual_seed(0)
    store = store_of(12, 12, 8)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        store.save(place / "store.safetensors")
        evaluate_once(store)
        ways = {"evaluate, from store to rank": passed(lambda: evaluate_once(store), "rank")}
        train_once(place, 0)
        handle = register_optimizer_step_post_hook(arrive)
        ways["train, from recipe to step"] = passed(lambda: train_once(place, 1), None)
        handle.remove()
    print("files with functions that run: in rooms, of all")
    for way, files in ways.items():
        print(f"{sum(map(is_in_a_room, files)):4d} {len(files):4d}  {way}")
        for file in files if args.list else ():
            print(f"        {'  ' * (not is_in_a_room(file))}{file}")


if __name__ == "__main__":
    main()

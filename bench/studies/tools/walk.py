"""Count the files of lvm_fast that a reader passes from a store to a rank, and from a recipe to a training step.

A file counts once a function of it has run on the way: imports do not count, nor does what runs only because a module
is loaded. Each way is walked twice in small, and traced the second time, when everything has been loaded. The first
way ends as soon as the first ranks are known, the second after the first optimiser step.

Four counts:

1. the files on the call stack at the end: the spine of the way;
2. the files on the way: a reader goes neither down to the floor nor into a side room;
3. the files in the rooms that the way leads through, side rooms too, the floor not;
4. all files.

The floor is what a reader may trust without looking: helpers, kernels, layers, the insides of models, and the checks
of what a bank is asked. A side room is what neither a rank nor a step depends on: the closed forms beside a model, the
scores of validation, and logs.

    python bench/studies/tools/walk.py [--list]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

import lvm_fast as lf

PACKAGE = Path(lf.__file__).resolve().parent
ROOMS = ("data", "retrieval", "spaces", "inference", "evaluation", "training")
CHECKS = {"retrieval/checked_input.py", "_questions.py"}  # the second of 0.1, as are the others that are not there
SIDE_ROOMS = {
    "evaluation/baselines.py",
    "evaluation/closed_forms.py",
    "training/logs.py",
    "training/run_log.py",
    "training/selection.py",
    "training/validation.py",
}
ROOMS_OF_OLD_FILES = {"scoring.py": "retrieval", "_questions.py": "retrieval", "sharded.py": "retrieval"}


class Arrived(BaseException):
    """The end of a way: no handler of errors may stop it."""


class Way(NamedTuple):
    """A way that was walked.

    Attributes:
        files: All files passed, in order.
        seen: Those that were passed outside side rooms.
        spine: Those on the call stack at the end.
    """

    files: list[str]
    seen: set[str]
    spine: list[str]

    @property
    def in_rooms(self) -> list[str]:
        """The files in the rooms that a way leads through."""
        return [file for file in self.files if ROOMS_OF_OLD_FILES.get(file, file.partition("/")[0]) in ROOMS]

    @property
    def on_the_way(self) -> list[str]:
        """Those of them that a reader passes."""
        return [file for file in self.in_rooms if file in self.seen and file not in CHECKS]


def passed(walk: Callable[[], Any], ends_with: str | None) -> Way:
    """Note the files whose functions run until one called `ends_with` has returned; or until `Arrived`."""
    files: dict[str, None] = {}
    seen: set[str] = set()
    entered: list[FrameType] = []  # the side room that the walk is in

    def note(frame: FrameType, event: str, _: Any) -> None:
        file = file_of(frame)
        if file and event == "call":
            files.setdefault(file)
            if file in SIDE_ROOMS and not entered:
                entered.append(frame)
            if not entered:
                seen.add(file)
        elif event == "return" and entered and frame is entered[0]:
            entered.clear()
        elif file and event == "return" and frame.f_code.co_name == ends_with:
            raise Arrived(file)  # a frame that returns is in no traceback

    sys.setprofile(note)
    try:
        walk()
    except Arrived as end:
        sys.setprofile(None)
        frames = [frame for frame, _ in walk_tb(end.__traceback__)]
        return Way(list(files), seen, list(dict.fromkeys(filter(None, [*map(file_of, frames), *end.args]))))
    finally:
        sys.setprofile(None)
    raise RuntimeError("the way never came to its end")


def file_of(frame: FrameType) -> str:
    """Return the file of the package that a frame runs in; empty for all others."""
    file = frame.f_code.co_filename
    return str(Path(file).relative_to(PACKAGE)) if file.startswith(str(PACKAGE)) else ""


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
    print("files with functions that run: on the call stack at the end, on the way, in rooms, all")
    for name, way in ways.items():
        counts = (way.spine, way.on_the_way, way.in_rooms, way.files)
        print("".join(f"{len(files):4d}" for files in counts) + f"  {name}: {', '.join(way.spine)}")
        for file in way.files if args.list else ():
            depth = (file not in way.on_the_way) + (file not in way.in_rooms)
            print(f"        {'  ' * depth}{file}")


if __name__ == "__main__":
    main()

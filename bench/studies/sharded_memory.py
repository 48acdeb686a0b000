"""How much memory does training on a store of many files take? Writes one, trains, evaluates, and prints the peaks.

python bench/studies/sharded_memory.py FOLDER  # 5,000,000 rows x 768 in float16, 7.7 GB in ten files
python bench/studies/sharded_memory.py FOLDER --rows 200000

The folder is made and removed again. Each step runs in a process of its own. Its own memory (RssAnon) cannot be given
back while it runs; pages of the files that it has read (RssFile) are the system's, which takes them back at need.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

import lvm_fast as lf
from lvm_fast.cli.info import describe_installation

FILES, CHAIN, DIM = 10, 1000, 768
_STEPS = ("open", "space", "train", "evaluate")


def write_files(folder: Path, rows: int) -> None:
    """Write files of random walks on the unit sphere, chain by chain."""
    folder.mkdir(parents=True)
    per_file = rows // FILES // CHAIN
    for file in range(FILES):
        rng = np.random.default_rng(file)
        stored = np.empty((per_file * CHAIN, DIM), np.float16)
        for chain in range(per_file):
            walk = rng.standard_normal(DIM, np.float32) + 0.15 * np.cumsum(
                rng.standard_normal((CHAIN, DIM), np.float32), axis=0
            )
            stored[chain * CHAIN :][:CHAIN] = walk / np.linalg.norm(walk, axis=1, keepdims=True)
        ids = [f"{file}-{chain}" for chain in range(per_file)]
        offsets = np.arange(per_file + 1) * CHAIN
        lf.ChainStore.write(folder / f"part-{file}.safetensors", stored, offsets, ids, {"encoder": "random walks"})


def run_step(step: str, folder: Path, runs: Path) -> None:
    """Run one step, and print its time and its peaks."""
    peaks = {"RssAnon": 0.0, "RssFile": 0.0}
    watch = threading.Thread(target=_watch, args=(peaks,), daemon=True)
    watch.start()
    began = time.perf_counter()
    _do(step, folder, runs)
    seconds = time.perf_counter() - began
    _note(peaks)
    print(
        f"| {step} | {seconds:,.0f} s | {peaks['RssAnon'] / 1e3:.2f} GB | {peaks['RssFile'] / 1e3:.2f} GB |", flush=True
    )


def _do(step: str, folder: Path, runs: Path) -> None:
    if step == "open":
        lf.ChainStore.open(folder).check()
    elif step == "space":
        lf.fit_space(lf.ChainStore.open(folder).vectors)
    elif step == "train":
        lf.train(
            lf.Recipe(
                data=folder,
                context_length=100,
                stride=CHAIN // 2,
                val_fraction=0.0002,  # near-duplicates are looked for among all rows
                epochs=1,
                model={"hidden_dim": 64, "num_layers": 1, "memory_slots": 16},
                device="cpu",
                tensorboard=False,
                output_dir=str(runs),
            )
        )
    else:
        _, held_out = lf.split_chains(lf.ChainStore.open(folder), 0.001, near_duplicate=None)
        lf.evaluate(lf.load_model(runs), held_out, context_length=100, pool="targets")


def _watch(peaks: dict[str, float]) -> None:
    while True:
        _note(peaks)
        time.sleep(0.02)


def _note(peaks: dict[str, float]) -> None:
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in peaks:
            peaks[name] = max(peaks[name], int(rest.split()[0]) / 1e3)


def main() -> None:
    """Write the store, run the steps, remove it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--step", choices=_STEPS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    store, runs = args.folder / "store", args.folder / "run"
    if args.step:
        run_step(args.step, store, runs)
        return
    try:
        write_files(store, args.rows)
        size = sum(path.stat().st_size for path in store.iterdir())
        print(f"{args.rows:,} rows x {DIM}, float16, {FILES} files, {size / 1e9:.1f} GB")
        print(*(f"{name}: {value}" for name, value in describe_installation().items()), sep="\n")
        print("| step | time | own memory, peak | pages of the files, peak |\n|---|--:|--:|--:|", flush=True)
        for step in _STEPS:
            command = [sys.executable, __file__, str(args.folder), "--step", step]
            subprocess.run(command, check=True, stdout=None)
    finally:
        shutil.rmtree(args.folder, ignore_errors=True)


if __name__ == "__main__":
    main()

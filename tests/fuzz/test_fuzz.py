"""Whatever a file holds, it is read or it is one mistake of the input; nothing that a file holds runs."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import fuzz
import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.training.recipe import Recipe

SECONDS = float(os.environ.get("LVM_FAST_FUZZ_SECONDS", "20"))  # of each target in the slow tests
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_the_corpus_and_some_changes_of_it_are_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    told = fuzz.fuzz(name, 0.2, seed=1, keep=None)
    assert told["inputs"] > len(list((fuzz.CORPUS / name).glob("*")))
    assert told["ends"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_many_changes_are_read_or_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert fuzz.fuzz(name, SECONDS, seed=os.getpid(), keep=None)["inputs"] > SECONDS


def test_a_reader_that_fails_otherwise_is_found(tmp_path, monkeypatch):
    def read(path: Path) -> None:
        if b"\xff" in path.read_bytes():
            raise KeyError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(fuzz.TARGETS, "broken", fuzz.Target(".bin", lambda path: path.write_bytes(bytes(64)), read))
    with pytest.raises(AssertionError, match=r"broken: KeyError, see .*fault-broken-"):
        fuzz.fuzz("broken", 20, seed=1, keep=None)
    (kept,) = tmp_path.glob("fault-*")
    assert b"\xff" in kept.read_bytes()


class Runs:
    """A pickle of it makes the file `ran`."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, ("ran", "w")


def pickled_checkpoint(path: Path) -> None:
    torch.save({"model_type": "gru", "model_state_dict": {"a": torch.ones(2)}, "config": Runs()}, path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Runs()))


def pickled_npz(path: Path) -> None:
    objects = np.empty(2, object)
    objects[:] = [Runs(), Runs()]
    np.savez(path, context_sequences=objects, target_vectors=objects)


def pickled_npy(path: Path) -> None:
    np.save(path, np.array([Runs()], object), allow_pickle=True)


def yaml_object(path: Path) -> None:
    path.write_text("data: sample\nmodel_type: !!python/object/apply:builtins.open [ran, w]\n")


def prepare(path: Path) -> None:
    from lvm_fast.cli import main

    if main(["prepare", str(path), "--output", "out.safetensors"]) == 2:
        raise ValueError("a mistake of the input, in one line")


@pytest.mark.parametrize(
    ("name", "write", "read"),
    [
        ("m.pt", pickled_checkpoint, lf.load_model),
        ("m.pt", bare_pickle, lf.load_model),
        ("s.npz", pickled_npz, lf.ChainStore.from_sequences),
        ("s.safetensors", bare_pickle, lf.ChainStore.open),
        ("b.safetensors", bare_pickle, lf.VectorBank.open),
        ("r.yaml", yaml_object, Recipe.from_yaml),
        ("v.npy", pickled_npy, prepare),
        ("s.npz", pickled_npz, prepare),
    ],
)
def test_nothing_that_a_file_holds_runs(name, write, read, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    with pytest.raises((ValueError, OSError)):
        read(Path(name))
    assert {path.name for path in tmp_path.iterdir()} == {name}


def test_the_pickle_of_these_tests_would_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Runs())).close()
    assert Path("ran").exists()

"""Data and disks that a run meets: other pools and stores, bad input, and disks that are full."""

from __future__ import annotations

import copy
import errno
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.models.pretrained import load_model
from lvm_fast.training.fit import train
from lvm_fast.training.load_data import load_data


def test_a_full_disk_keeps_the_checkpoints_before_it(recipe, monkeypatch):
    first = train(recipe(epochs=1))
    before = (first.output_dir / "last.pt").read_bytes()
    whole = torch.save

    def full(state, file):
        if "random_state" in state:
            file.write(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        whole(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match=r"No space left.*last\.pt"):
        train(recipe(epochs=2, resume=True))
    assert (first.output_dir / "last.pt").read_bytes() == before
    assert not [path for path in first.output_dir.iterdir() if path.name.startswith(".")]


def test_a_disk_that_fills_up_within_a_checkpoint_is_one_line(recipe, store, tmp_path):
    """A real limit on the size of files, and a checkpoint far larger than torch's buffers."""
    resource = pytest.importorskip("resource")
    store.save(tmp_path / "store.safetensors")
    model = {"hidden_dim": 96, "num_layers": 2, "memory_slots": 512}
    first = train(recipe(epochs=1, data=tmp_path / "store.safetensors", model=model))
    before = {path.name: path.stat().st_mtime_ns for path in first.output_dir.glob("*.pt")}
    size = (first.output_dir / "last.pt").stat().st_size
    assert size > 1_000_000
    result = subprocess.run(
        [sys.executable, "-m", "lvm_fast", "train", "--output-dir", "run", "--resume", "--epochs", "2"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert re.fullmatch(r"lvm-fast: error: .*cannot save: File too large: 'run/\w+\.pt'\n", result.stderr)
    assert {path.name: path.stat().st_mtime_ns for path in first.output_dir.glob("*.pt")}.items() >= before.items()
    assert not list(first.output_dir.glob(".*"))
    assert load_model(first.output_dir).metrics["pool"] == first.pool


def test_a_damaged_state_is_named(recipe):
    first = train(recipe(epochs=1))
    torch.save({"args": recipe(epochs=1).to_dict()}, first.output_dir / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt: not the state of a training run"):
        train(recipe(epochs=1, resume=True))


@pytest.mark.parametrize("pool", ["store", 11])
def test_other_pools(recipe, pool):
    result = train(recipe(epochs=1, pool=pool))
    assert result.pool == (len(result.validation.vectors) if pool == "store" else 11)


def test_validation_may_be_given(recipe, store):
    picked = [int(store.offsets[4]), int(store.offsets[9])]
    held_out = ChainStore(store.vectors[picked[0] : picked[1]], store.offsets[4:10] - picked[0])
    with pytest.warns(UserWarning, match=r"^train: \d+ of \d+ validation windows share .* flatters every score$"):
        result = train(recipe(epochs=1, validation_data=held_out))
    assert result.validation is held_out


def test_training_windows_may_cross_chains_but_validation_never_does(recipe):
    within, across = load_data(recipe()), load_data(recipe(cross_chains=True))
    assert (across.training.store.chain_of(across.training.starts) != across.training.chains).any()
    assert (within.training.store.chain_of(within.training.starts) == within.training.chains).all()
    np.testing.assert_array_equal(across.validation.starts, within.validation.starts)


@pytest.mark.parametrize("form", ["path", "text"])
def test_a_store_on_disk(recipe, store, tmp_path, form):
    path = tmp_path / "store.safetensors"
    store.save(path)
    assert train(recipe(epochs=1, data=path if form == "path" else str(path))).steps > 0


def bad_store(value):
    vectors = np.ones((40, 16), np.float32)
    vectors[17, 3 if np.isnan(value) else slice(None)] = value
    return ChainStore(vectors, [0, 20, 40])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": "absent.safetensors"}, FileNotFoundError, "absent.safetensors"),
        (
            {"data": "rows.npy"},
            ValueError,
            "'rows.npy' is no chain store; make one of it with `lvm-fast prepare`",
        ),
        ({"data": 3}, ValueError, "data is a int; expected a ChainStore, its path, or 'sample'"),
        ({"data": bad_store(np.nan)}, ValueError, "ChainStore.check: vectors: row 17"),
        ({"data": bad_store(0.0)}, ValueError, "ChainStore.check: vectors: row 17"),
        ({"model_type": "memory_gur"}, ValueError, "did you mean 'memory_gru'"),
        ({"model": {"hidden": 3}}, ValueError, "unknown memory_gru argument 'hidden'; did you mean 'hidden_dim'"),
        ({"model": {"d_model": 3}}, ValueError, "the model is to read 3 dimensions; expected 16, as the data has"),
        ({"device": "tpu"}, ValueError, "device = 'tpu'"),
        ({"min_length": 500}, ValueError, "no window"),
        ({"pool": 100_000}, ValueError, "train: pool = 100,000; expected 1 to"),
        ({"validation_data": ChainStore(np.ones((9, 5), np.float32), [0, 9])}, ValueError, "5 dimensions; expected 16"),
    ],
)
def test_bad_input_is_named_before_anything_is_written(recipe, tmp_path, changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        train(recipe(**changes))
    assert not (tmp_path / "run").exists()


def test_a_start_that_fails_leaves_no_folder(recipe, tmp_path, monkeypatch):
    def refuse(self, model):
        raise ValueError("no score")

    monkeypatch.setattr("lvm_fast.training.prepare_run.Validation.score", refuse)
    with pytest.raises(ValueError, match="no score"):
        train(recipe(output_dir=str(tmp_path / "new" / "run")))
    assert not (tmp_path / "new").exists()


def test_the_log_counts_whole_chains(recipe):
    data = load_data(recipe())
    pieces = copy.copy(data.validation.store)
    pieces.origins = ["a"] * len(pieces)
    whole, cut = data.describe(), data._replace(validation=Windows(pieces, 8)).describe()
    assert f"; validation {len(data.validation)} windows of {len(pieces)} chains" in whole
    assert re.search(r"; validation \d+ windows of 1 chains", cut)


def test_a_recipe_changed_afterwards_is_checked_again(recipe):
    asked = recipe()
    asked.epochs = -1
    with pytest.raises(ValueError, match="epochs = -1"):
        train(asked)


def test_the_caller_keeps_its_recipe_and_store(recipe, store):
    before, vectors = copy.deepcopy(recipe().to_dict()), store.vectors[:].copy()
    asked = recipe()
    train(asked)
    assert asked.to_dict() == before
    np.testing.assert_array_equal(store.vectors[:], vectors)


def test_tensorboard_events_where_it_is_installed(recipe):
    pytest.importorskip("tensorboard")
    folder = train(recipe(epochs=1, tensorboard=True)).output_dir / "tensorboard"
    assert list(folder.glob("events.out.tfevents.*"))

"""The import paths of version 0.1 lead to the very same classes, also inside pickles."""

from __future__ import annotations

import importlib
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast._util.old_paths import MOVED

# public names by the modules that had them
PUBLIC = {
    "kernels": ("l2_normalize", "reconstruct", "num_threads", "set_num_threads", "simd_level", "simd_levels"),
    "gru": ("GRU",),
    "scoring": ("VectorBank", "hit_at_k"),
    "sharded": ("ShardedBank",),
    "data.store": ("ChainStore",),
    "data.split": ("split_chains",),
    "data.windows": ("Windows",),
    "data.given_windows": ("GivenWindows",),
    "data.search": ("search",),
    "data.mining": ("mine",),
    "data.mined": ("MinedNegatives",),
    "spaces": ("Space", "fit_space"),
    "spaces.space": ("Space", "Moments", "fit_space"),
    "models.registry": ("create_model", "model_names"),
    "models.pretrained": ("load_model",),
    "models.champion": ("RecencyMixer",),
    "inference.router": ("Router",),
    "inference.streaming": ("Stream",),
    "training.recipe": ("Recipe",),
    "training.trainer": ("train",),
    "evaluation.evaluate": ("evaluate",),
    "evaluation.routers": ("evaluate_router",),
}


@pytest.mark.parametrize(("module", "name"), [(module, name) for module, names in PUBLIC.items() for name in names])
def test_a_public_name_is_found_where_version_0_1_had_it(module, name):
    found = getattr(importlib.import_module(f"lvm_fast.{module}"), name)
    now = getattr(lf, name, None)
    assert found is now if now is not None else callable(found)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_is_the_module_of_the_new_one(old):
    assert importlib.import_module(f"lvm_fast.{old}") is importlib.import_module(f"lvm_fast.{MOVED[old]}")


def test_old_modules_are_attributes_too(tmp_path: Path):
    code = """
import lvm_fast as lf
from lvm_fast.scoring import VectorBank
import lvm_fast.data.store
assert VectorBank is lf.VectorBank is lf.scoring.VectorBank
assert lf.data.store.ChainStore is lf.ChainStore
lf.kernels.set_num_threads(2)
assert lf.kernels.num_threads() == lf.ops.num_threads() == 2
assert lf.kernels is lf.ops
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def old_pickle(value: Any, module: str, old: str) -> bytes:
    """A pickle that names a module by its path in version 0.1; protocol 0 spells names out as text."""
    held = pickle.dumps(value, protocol=0)
    assert f"lvm_fast.{module}\n".encode() in held
    return held.replace(f"lvm_fast.{module}\n".encode(), f"lvm_fast.{old}\n".encode())


def test_a_pickled_gru_of_version_0_1_loads():
    gru, x = lf.GRU(3, 4), torch.randn(5, 2, 3)
    again = pickle.loads(old_pickle(gru, "layers.gru", "gru"))
    assert type(again) is lf.GRU
    assert torch.equal(again(x)[0], gru(x)[0])


def test_a_pickled_store_of_version_0_1_loads():
    store = lf.ChainStore(np.eye(4, dtype=np.float32), [0, 1, 4])
    again = pickle.loads(old_pickle(store, "data.chain_store", "data.store"))
    assert type(again) is lf.ChainStore
    np.testing.assert_array_equal(again.vectors[1:], store.vectors[1:])


def test_a_pickled_bank_of_version_0_1_loads():
    bank = lf.VectorBank(np.eye(4, dtype=np.float32))
    again = pickle.loads(old_pickle(bank, "retrieval.bank", "scoring"))
    assert type(again) is lf.VectorBank
    assert again.topk(np.eye(4, dtype=np.float32), 1)[1].ravel().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("name", "module", "old"),
    [("memory_gru", "layers.gru", "gru"), ("recency_mixer", "models.recency_mixer", "models.champion")],
)
def test_a_model_saved_whole_by_version_0_1_loads(name, module, old, tmp_path: Path):
    small = {"memory_slots": 3, "num_layers": 1} if name == "memory_gru" else {}
    model = lf.create_model(name, input_dim=6, hidden_dim=5, **small).eval()
    again = pickle.loads(old_pickle(model, module, old))
    context = torch.randn(2, 4, 6)
    assert type(again) is type(model)
    assert torch.equal(again.predict(context), model.predict(context))

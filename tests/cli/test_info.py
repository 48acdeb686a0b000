"""`lvm-fast info`, and what starts without torch."""

from __future__ import annotations

import importlib.metadata
import json

import pytest

from lvm_fast import cli
from lvm_fast._util.device import available_devices
from lvm_fast.cli.info import facts

NO_TORCH = """
import json, sys
import numpy as np
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise AssertionError("torch was imported")
sys.meta_path.insert(0, Refuse())
ROWS = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
"""


@pytest.mark.parametrize(
    "code",
    [
        "import lvm_fast as lf; lf.sample(); store = lf.ChainStore(ROWS, [0, 20, 40])\n"
        "bank = lf.VectorBank(store.vectors, normalize=True)\n"
        "bank.topk(store.vectors[:2], 3); bank.rank(store.vectors[:2], [1, 2]); bank.save('b.safetensors')\n"
        "lf.VectorBank.open('b.safetensors').band(store.vectors[:1], 0.5, 0.9, 4)\n"
        "lf.hit_at_k(store.vectors[:3], store.vectors[1:4]); lf.split_chains(store); lf.Windows(store, 10).batch([0])\n"
        "lf.search(store, store.vectors[:1], 3); lf.l2_normalize(store.vectors[:2]); store.save('s.safetensors')\n"
        "lf.ChainStore.open('s.safetensors').check()",
        "from lvm_fast.cli import main; assert main(['info']) == 0",
        "from lvm_fast.cli import main; assert main(['search', '--data', 'sample', '--chunk', '3']) == 0",
        "np.save('v.npy', np.ones((2, 768), np.float32)); from lvm_fast.cli import main\n"
        "assert main(['search', '--data', 'sample', '--vectors', 'v.npy', '--json']) == 0",
        "import lvm_fast.data.sentence_encoder as encoders\n"
        "class Hash:\n"
        "    name, max_tokens = 'hash', None\n"
        "    def __init__(self, name, device): pass\n"
        "    def encode(self, texts): return np.ones((len(texts), 768), np.float32)\n"
        "encoders.SentenceEncoder = Hash; from lvm_fast.cli import main\n"
        "assert main(['search', '--data', 'sample', '--text', 'words']) == 0",
        "import lvm_fast as lf; lf.ChainStore.write('s.safetensors', ROWS, [0, 20, 40])\n"
        "from lvm_fast.cli import main\n"
        "assert main(['mine', '--data', 's.safetensors', '--output', 'm.safetensors', '--limit', '2']) == 0",
        "from lvm_fast import Recipe; Recipe(epochs=3); Recipe.named('phase1')",
        "from lvm_fast.models.registry import model_names; assert 'recency_mixer' in model_names()",
        "from lvm_fast.cli import build_parser; build_parser()",
    ],
)
def test_what_needs_no_torch_does_not_import_it(run_python, code):
    done = run_python(f"{NO_TORCH}{code}\nassert 'torch' not in sys.modules")
    assert (done.returncode, done.stderr) == (0, "")


def test_devices_are_asked_of_torch_only_on_request(capsys):
    assert cli.main(["info", "--devices"]) == 0
    assert f"devices      {', '.join(available_devices())}\n" in capsys.readouterr().out
    assert facts()["devices"] == "cpu (`lvm-fast info --devices` asks torch for more)"


def test_versions_are_those_that_are_installed(monkeypatch):
    import torch

    assert facts()["torch"] == torch.__version__

    def damaged(name):
        raise TypeError("no such file")

    monkeypatch.setattr(importlib.metadata, "version", damaged)
    assert facts()["coremltools"] == "unknown"


def test_help_needs_no_numpy(run_python):
    code = "import sys, json; from lvm_fast.cli import build_parser; build_parser(); print(json.dumps([*sys.modules]))"
    assert not {"numpy", "yaml", "tqdm"} & set(json.loads(run_python(code).stdout))

"""Models go to the hub and come back: against a stand-in for its HTTP API, and from a folder; nothing runs code."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.memory_gru import MemoryGRU

from .hub_server import SHA, HubServer

SIZES = {"input_dim": 8, "hidden_dim": 6, "num_layers": 1, "memory_slots": 4}
CODE = """
import torch, lvm_fast as lf
torch.manual_seed(0)
model = lf.create_model("memory_gru", input_dim=8, hidden_dim=6, num_layers=1, memory_slots=4).eval()
context = torch.ones(1, 5, 8)
"""


@pytest.fixture
def hub() -> Iterator[HubServer]:
    pytest.importorskip("huggingface_hub")
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def run(hub, run_python, tmp_path):
    """Runs code that talks to the stand-in; its library reads the address when it is imported."""
    places = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_secret"}
    places |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_OFFLINE": "0"}
    return lambda code: run_python(CODE + code, **places)


class Evil:
    def __reduce__(self):
        return exec, ("open('ran', 'w')",)


def test_a_model_goes_to_the_hub_and_comes_back(hub, run, tmp_path):
    done = run("""
print(model.push_to_hub("me/speeches", private=True))
back = lf.from_pretrained("me/speeches")
assert torch.equal(back.predict(context), model.predict(context))
assert type(back) is type(model) and not back.training
same = type(model).from_pretrained("me/speeches", local_files_only=True)
assert torch.equal(same.predict(context), model.predict(context))
""")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == f"{hub.address}/me/speeches/commit/{SHA}"
    files = hub.repos["me/speeches"]
    assert files.keys() == {"README.md", "config.json", "model.safetensors"}
    (tmp_path / "model").mkdir()
    for name, content in files.items():
        (tmp_path / "model" / name).write_bytes(content)
    assert lf.load_model(tmp_path / "model").config["hidden_dim"] == 6


def test_nothing_of_a_repository_that_could_run_is_even_fetched(hub, run, tmp_path):
    assert run('model.push_to_hub("me/speeches")').returncode == 0
    evil = pickle.dumps(Evil())
    others = {"best_val_hit5.pt": evil, "pytorch_model.bin": evil, "modeling.py": b"open('ran', 'w')"}
    hub.repos["me/speeches"] |= others
    hub.asked.clear()
    assert run('lf.from_pretrained("me/speeches")').returncode == 0
    assert {asked.rpartition("/")[2] for asked in hub.asked} == {"config.json", "model.safetensors"}
    hub.repos["me/evil"] = {**others, "config.json": hub.repos["me/speeches"]["config.json"]}
    failed = run('lf.from_pretrained("me/evil")')
    assert "OSError: from_pretrained: 'me/evil': cannot be fetched from the hub: " in failed.stderr
    hub.repos["me/evil"]["model.safetensors"] = evil
    failed = run('lf.from_pretrained("me/evil")')
    assert "not a readable safetensors file" in failed.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()


def test_what_the_hub_refuses_is_said(hub, run):
    failed = run('model.push_to_hub("me/forbidden")')
    assert failed.stderr.splitlines()[-1].startswith("OSError: push_to_hub: 'me/forbidden': ")
    failed = run('lf.from_pretrained("me/nothing")')
    assert "OSError: from_pretrained: 'me/nothing': cannot be fetched from the hub: " in failed.stderr


def test_what_cannot_be_saved_makes_no_repository(hub, run):
    failed = run('model.extra = torch.nn.Linear(2, 2)\nmodel.push_to_hub("me/changed")')
    assert "ValueError: save_pretrained: " in failed.stderr
    assert hub.asked == []


def test_a_folder_needs_no_hub(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    torch.manual_seed(0)
    model = lf.create_model("memory_gru", **SIZES).eval()
    model.save_pretrained(tmp_path / "model")
    context = torch.ones(1, 5, 8)
    assert torch.equal(lf.from_pretrained(tmp_path / "model").predict(context), model.predict(context))
    assert torch.equal(MemoryGRU.from_pretrained(tmp_path / "model").predict(context), model.predict(context))
    assert lf.from_pretrained("general").model_type == "recency_residual"
    with pytest.raises(ValueError, match="holds a MemoryGRU; expected a GRUModel"):
        type(lf.create_model("gru", input_dim=8, hidden_dim=4, num_layers=1)).from_pretrained(tmp_path / "model")
    with pytest.raises(
        ModuleNotFoundError, match=r"huggingface_hub is missing; pip install 'lvm_fast\[hub\]' brings it"
    ):
        lf.from_pretrained("me/speeches")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'lvm_fast\[hub\]'"):
        model.push_to_hub("me/speeches")


def test_a_name_that_is_none_is_a_value_error(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="no path here, and no name on the hub"):
        lf.from_pretrained(Path("a/b/c.pt"))

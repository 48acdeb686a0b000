"""Building models by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.models.model_types import MODELS
from lvm_fast.models.pretrained import load_single_model
from lvm_fast.models.recency_mixer import RecencyMixer
from lvm_fast.models.registry import create_model, model_names

TOY = """
import torch

from lvm_fast.models.causal import CausalModel
from lvm_fast.models.checks import check_sizes


class RunningSum(CausalModel):
    model_type = "running_sum"

    def __init__(self, input_dim=768, normalize_delta=False):
        super().__init__(check_sizes(self.model_type, input_dim=input_dim), normalize_delta)
        self.scale = torch.nn.Parameter(torch.tensor(2.0))

    def hidden(self, context, lengths):
        return context.cumsum(dim=1)

    def raw_delta(self, hidden):
        return self.scale * hidden

    def start_steps(self, batch_size):
        return torch.zeros(batch_size, self.input_dim)

    def next_hidden(self, state, vector):
        return state + vector, state + vector

    @classmethod
    def config_from_state(cls, state):
        return {}
"""


def test_every_registered_name_builds_from_its_own_config():
    for name in model_names():
        model = create_model(name, input_dim=8)
        again = create_model(name, **model.config)
        assert again.model_type == name
        assert again.config == model.config
        assert again.input_dim == 8


def test_d_model_is_input_dim():
    small = {"hidden_dim": 4, "memory_slots": 2}
    assert create_model("memory_gru", d_model=8, **small).input_dim == 8
    with pytest.raises(ValueError, match="d_model = 8 and input_dim = 9"):
        create_model("memory_gru", d_model=8, input_dim=9)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("memory_gur", {}, "unknown model 'memory_gur'; did you mean 'memory_gru'"),
        ("xyz", {}, "unknown model 'xyz'; there are: .*memory_gru"),
        (None, {}, "unknown model None; .*memory_gru"),
        ("memory_gru", {"hiden_dim": 4}, "unknown memory_gru argument 'hiden_dim'; did you mean 'hidden_dim'"),
        ("memory_gru", {"hidden_dim": 0}, "memory_gru: hidden_dim = 0; expected an integer of at least 1"),
        ("memory_gru", {"num_layers": 2.0}, "num_layers = 2.0; expected an integer"),
        ("memory_gru", {"dropout": 2.0}, "memory_gru: dropout = 2.0; expected a number from 0 to 1"),
        ("memory_gru", {"dropout": "a"}, "memory_gru: dropout = 'a'; expected a number from 0 to 1"),
        ("memory_gru", {"memory_slots": True}, "memory_slots = True; expected an integer"),
    ],
)
def test_mistakes_are_named_and_the_nearest_name_suggested(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(name, **arguments)


def test_a_new_model_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "toy_running_sum.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(MODELS.places, "running_sum", "toy_running_sum:RunningSum")
    assert "running_sum" in model_names()
    model = create_model("running_sum", input_dim=5)
    context = np.random.default_rng(0).standard_normal((3, 4, 5)).astype(np.float32)
    expected = context[:, -1] + 2.0 * context.sum(axis=1)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(context), expected, atol=1e-6)
    stream = model.stream(3)
    for step in range(4):
        pushed = stream.push(context[:, step])
    np.testing.assert_allclose(pushed, expected, atol=1e-6)
    model.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(lf.load_model(tmp_path / "saved").predict(context), model.predict(context))


def test_the_name_of_version_0_1_builds_a_recency_mixer():
    model = create_model("champion", input_dim=8, hidden_dim=4)
    assert type(model) is RecencyMixer
    assert model.model_type == "recency_mixer"
    assert "champion" not in model_names()
    with pytest.raises(ValueError, match="unknown recency_mixer argument 'tap'; did you mean 'taps'"):
        create_model("champion", tap=4)


def test_what_version_0_1_saved_as_a_champion_loads(tmp_path):
    model = create_model("recency_mixer", input_dim=8, hidden_dim=4, taps=2, decays=(0.5, 1.0)).eval()
    context = torch.randn(2, 5, 8)
    model.save_pretrained(tmp_path / "folder")
    place = tmp_path / "folder" / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"model_type": "champion"}))
    config = dict(model.config)
    checkpoint = {"model_type": "champion", "model_state_dict": model.state_dict(), "config": config}
    torch.save(checkpoint, tmp_path / "best_val_hit5.pt")
    for path in (tmp_path / "folder", tmp_path / "best_val_hit5.pt"):
        loaded = load_single_model(path)
        assert (loaded.model_type, loaded.config) == ("recency_mixer", config)
        assert torch.equal(loaded.predict(context), model.predict(context))

"""Training is in float32 whatever torch's default dtype is."""

from __future__ import annotations

import pytest
import torch
from literal_models import SMALL

from lvm_fast.models.registry import create_model, size_names
from lvm_fast.training.fit import train

WAYS = {
    "last position": {},
    "all positions": {"objective": "all_positions"},
    "infonce": {"alpha_infonce": 0.1, "infonce_batch": "effective", "infonce_candidates": 20},
    "negatives": {"enable_soft_negatives": True, "enable_hard_negatives": True},
}


@pytest.fixture
def float64_by_default():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def trained(recipe, tmp_path, name, way, run):
    no_dropout = {"dropout": 0.0} if "dropout" in size_names(name) else {}  # its draws depend on those before
    settings = {"model_type": name, "model": no_dropout, "epochs": 1, "warm_start": tmp_path / "start", **WAYS[way]}
    return train(recipe(**settings, output_dir=str(tmp_path / run)))


@pytest.mark.parametrize(
    ("name", "way"), [(name, "last position") for name in SMALL] + [("memory_gru", way) for way in WAYS]
)
def test_a_run_is_the_same_bit_for_bit(recipe, tmp_path, name, way, request):
    torch.manual_seed(0)
    create_model(name, **SMALL[name]).save_pretrained(tmp_path / "start")
    expected = trained(recipe, tmp_path, name, way, "float32")
    request.getfixturevalue("float64_by_default")
    result = trained(recipe, tmp_path, name, way, "float64")
    assert result.history[0]["train_loss"] == expected.history[0]["train_loss"]
    assert result.best_hit5 == expected.best_hit5
    for key, tensor in expected.model.state_dict().items():
        assert result.model.state_dict()[key].dtype == torch.float32
        assert torch.equal(result.model.state_dict()[key], tensor), key


def test_fresh_weights_are_float32(recipe, float64_by_default):
    result = train(recipe(epochs=1))
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.float32}
    assert result.history[0]["train_loss"] < 1.0

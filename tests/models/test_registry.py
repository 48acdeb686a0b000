"""Building models by name."""

from __future__ import annotations

import pytest

from lvm_fast.models.registry import create_model, model_names


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

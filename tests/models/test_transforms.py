"""Every model under torch.func: tangents, maps and second gradients agree with what they are defined to be."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jvp, vmap

import lvm_fast as lf
from lvm_fast.models.registry import model_names

SIZES = {
    "memory_gru": {"memory_slots": 4},
    "hierarchical_gru": {"chunk_size": 2},
    "specialist_gru": {"num_experts": 3, "expert_dim": 4},
}
pytestmark = pytest.mark.filterwarnings("ignore:There is a performance drop")  # torch's own attention
WITHOUT_LAYERS = ("amn", "recency_mixer", "recency_residual", "whitened_recency")
WITHOUT_TANGENTS = ("transformer",)  # torch's own attention has no forward-mode derivative


@pytest.fixture(params=model_names())
def model(request) -> lf.models.base.LatentVectorModel:
    torch.manual_seed(0)
    sizes = {"hidden_dim": 8, "num_layers": 2} if request.param not in WITHOUT_LAYERS else {}
    return lf.create_model(request.param, input_dim=6, **sizes, **SIZES.get(request.param, {})).eval()


def contexts() -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(1)
    return torch.randn(5, 4, 6, generator=random), torch.randn(5, 4, 6, generator=random)


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 2, 1, 4, 3])])
def test_tangents_are_slopes(model, lengths):
    if model.model_type in WITHOUT_TANGENTS:
        pytest.skip("torch's own attention has no forward-mode derivative")
    context, direction = contexts()
    _, found = jvp(lambda given: model(given, lengths), (context,), (direction,))
    exact, step = copy.deepcopy(model).double(), 1e-5
    near = [exact(context.double() + sign * step * direction.double(), lengths) for sign in (1, -1)]
    torch.testing.assert_close(found.double(), (near[0] - near[1]) / (2 * step), atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("lengths", [None, torch.tensor([4, 2, 1, 4, 3])])
def test_maps_are_one_by_one(model, lengths):
    both = torch.stack(contexts())
    found = vmap(lambda given: model(given, lengths))(both)
    torch.testing.assert_close(found, torch.stack([model(given, lengths) for given in both]), atol=1e-5, rtol=1e-4)


def test_gradients_of_each_context_are_those_of_one(model):
    context, _ = contexts()
    values = {name: value.detach() for name, value in model.named_parameters()}

    def loss(own: dict[str, Tensor], given: Tensor) -> Tensor:
        return functional_call(model, own, (given[None],)).sin().sum()

    found = vmap(grad(loss), (None, 0))(values, context)
    expected = grad(loss)(values, context[2])
    torch.testing.assert_close({name: each[2] for name, each in found.items()}, expected, atol=1e-5, rtol=1e-3)

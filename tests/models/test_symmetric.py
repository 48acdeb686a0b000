"""A symmetric matrix comes back from its upper half, bit for bit."""

from __future__ import annotations

import pytest
import torch

from lvm_fast.models.pretrained import PACKAGED
from lvm_fast.models.symmetric import folded, unfolded


@pytest.mark.parametrize("dim", [1, 2, 5, 768])
def test_a_matrix_comes_back_from_its_upper_half(dim):
    matrix = torch.randn(dim, dim, generator=torch.Generator().manual_seed(0)).half()
    state = {"a": torch.ones(2), "space.matrix": matrix + matrix.T}
    half = folded(state)
    assert half.keys() == {"a", "space.upper"}
    assert half["space.upper"].shape == (dim * (dim + 1) // 2,)
    assert half["space.upper"][:dim].tolist() == state["space.matrix"][0].tolist()  # the first row is whole
    again = unfolded(half)
    assert again.keys() == state.keys()
    assert torch.equal(again["space.matrix"], state["space.matrix"])


def test_a_state_without_a_half_stays_as_it_is():
    state = {"space.matrix": torch.eye(2)}
    assert unfolded(state) is state


def test_what_is_no_half_is_refused():
    with pytest.raises(ValueError, match=r"space.upper has shape \(4,\); expected \(D \(D \+ 1\) / 2,\)"):
        unfolded({"space.upper": torch.ones(4)})
    with pytest.raises(ValueError, match=r"space.upper has shape \(2, 3\)"):
        unfolded({"space.upper": torch.ones(2, 3)})
    with pytest.raises(ValueError, match=r"space.matrix is not symmetric"):
        folded({"space.matrix": torch.tensor([[1.0, 2], [3, 4]])})


def test_the_model_that_comes_with_the_package_is_small():
    assert (PACKAGED["general"] / "model.safetensors").stat().st_size < 1_900_000

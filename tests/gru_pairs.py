"""Torch's GRU and ours side by side: whatever is done with them comes to the same."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

import lvm_fast as lf

Use = Callable[[nn.Module], object]  # of a GRU of 4 inputs, 6 units, 2 layers


def steps(*shape: int) -> Tensor:
    return torch.linspace(-2, 2, 120).sin().view(shape or (5, 6, 4))


def check_same(use: Use, **settings: bool) -> None:
    """Torch's GRU and ours, with the same parameters, come to the same."""
    torch.manual_seed(0)
    ours = lf.GRU(4, 6, 2, **settings)
    theirs = nn.GRU(4, 6, 2, **settings)
    theirs.load_state_dict(ours.state_dict())
    found, expected = (torch.utils._pytree.tree_leaves(use(module)) for module in (ours, theirs))
    assert len(found) == len(expected)
    for mine, reference in zip(found, expected, strict=True):
        assert type(mine) is type(reference)
        if isinstance(reference, Tensor):
            torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-4)
        else:
            assert mine == reference


def learn(module: nn.Module) -> list[Tensor]:
    """Results and every gradient."""
    states, final = module(steps())
    loss = states.sin().sum() + final.cos().sum()
    return [states, final, *torch.autograd.grad(loss, list(module.parameters()))]


class Part(nn.Module):
    """A module that has a GRU."""

    def __init__(self, gru: nn.Module) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        states, final = self.gru(x)
        return 2 * states, final

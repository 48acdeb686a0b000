"""Torch's GRU and LSTM and ours side by side: whatever is done with them comes to the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import lvm_fast as lf

Use = Callable[[nn.Module], object]  # of a GRU or LSTM of 4 inputs, 6 units, 2 layers


def steps(*shape: int) -> Tensor:
    return torch.linspace(-2, 2, 120).sin().view(shape or (5, 6, 4))


def check_same(use: Use, kinds: tuple[str, ...] = ("GRU", "LSTM"), **settings: bool) -> None:
    """Torch's modules and ours, with the same parameters, come to the same."""
    for kind in kinds:
        torch.manual_seed(0)
        ours = getattr(lf, kind)(4, 6, 2, **settings)
        theirs = getattr(nn, kind)(4, 6, 2, **settings)
        theirs.load_state_dict(ours.state_dict())
        with without_onednn():  # whose LSTM knows no second gradients
            _check_alike(*(torch.utils._pytree.tree_leaves(use(module)) for module in (ours, theirs)))


@contextmanager
def without_onednn() -> Iterator[None]:
    """Torch's own LSTM runs in plain operators (`torch.backends.mkldnn.flags` warns of another setting)."""
    torch._C._set_mkldnn_enabled(False)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(True)


def _check_alike(found: list[object], expected: list[object]) -> None:
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
    loss = states.sin().sum() + sum(each.cos().sum() for each in tensors_of(final))
    return [states, final, *torch.autograd.grad(loss, list(module.parameters()))]


def tensors_of(state: Any) -> tuple[Tensor, ...]:
    """The tensors of a state: one of a GRU, two of an LSTM."""
    return (state,) if isinstance(state, Tensor) else tuple(state)


class Part(nn.Module):
    """A module that has a GRU or an LSTM."""

    def __init__(self, gru: nn.Module) -> None:
        super().__init__()
        self.gru = gru

    def forward(self, x: Tensor) -> Any:
        states, final = self.gru(x)
        return 2 * states, final

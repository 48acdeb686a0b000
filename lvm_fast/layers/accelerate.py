"""`accelerate`: makes the GRUs and LSTMs of any torch module ours, and torch's again."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .._util.numbers import truth_value
from .gru import GRU
from .gru_base import TorchGRU
from .lstm import LSTM
from .lstm_base import TorchLSTM
from .recurrent_base import RecurrentBase

_OURS: dict[type[nn.Module], type[RecurrentBase]] = {TorchGRU: GRU, TorchLSTM: LSTM}


@dataclass(frozen=True)
class Acceleration:
    """What `accelerate` did.

    Attributes:
        swapped: What was swapped, by its path in the module: the path "" is the module's own.
        left: What was not, and why.
        undone: Whether modules became torch's again.
    """

    swapped: dict[str, str]
    left: dict[str, str]
    undone: bool = False

    def __repr__(self) -> str:
        what = "put back" if self.undone else "swapped"
        lines = [f"accelerate: {len(self.swapped)} {what}, {len(self.left)} left as they are"]
        rows = [(what, path, text) for path, text in self.swapped.items()]
        rows += [("left", path, text) for path, text in self.left.items()]
        width = max((len(path) for _, path, _ in rows), default=0)
        lines += [f"  {done:<{len(what)}}  {path or '(itself)':<{width}}  {text}" for done, path, text in rows]
        return "\n".join(lines)


def accelerate(module: nn.Module, *, undo: bool = False) -> Acceleration:
    """Make every `torch.nn.GRU` and `torch.nn.LSTM` within a module a `lvm_fast.GRU` or `lvm_fast.LSTM`, in place.

    A layer stays the same object: its parameters, their names, hooks, mode, device and dtype are untouched, and
    optimisers, state dicts and other references go on as before. Only ``isinstance(layer, torch.nn.GRU)`` is no longer
    true (`torch.nn.RNNBase` is), and a module pickled whole needs this package to load.

    Args:
        module: Any module; it may be a recurrent layer itself.
        undo: Make those layers torch's own again that `accelerate` has swapped.

    Returns:
        What was swapped, what was not, and why. It prints as a table.

    Raises:
        ValueError: `module` is no torch module, or `undo` is neither True nor False.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.GRU(8, 8), torch.nn.GRUCell(8, 8))
        >>> accelerate(model)
        accelerate: 1 swapped, 1 left as they are
          swapped  1  GRU(8, 8)
          left     2  GRUCell takes one step at a time: there is nothing to gain
        >>> accelerate(model, undo=True)
        accelerate: 1 put back, 0 left as they are
          put back  1  GRU(8, 8)
    """
    if not isinstance(module, nn.Module):
        raise ValueError(f"accelerate: module: expected a torch.nn.Module, got {type(module).__name__}")
    if truth_value(undo, "accelerate: undo"):
        return _undo(module)
    swapped, left = {}, {}
    for path, layer in module.named_modules():
        reason = _why_not(layer)
        if reason is not None:
            left[path] = reason
        elif type(layer) in _OURS:
            layer.__class__ = _OURS[type(layer)]
            layer.was_torch = True
            swapped[path] = str(layer)
    return Acceleration(swapped, left)


def _undo(module: nn.Module) -> Acceleration:
    back = {}
    for path, layer in module.named_modules():
        if isinstance(layer, RecurrentBase) and layer.was_torch:
            del layer.was_torch
            layer.__class__ = layer.torch_class  # type: ignore[assignment]
            back[path] = str(layer)
    return Acceleration(back, {}, undone=True)


def _why_not(layer: nn.Module) -> str | None:
    """Say why a recurrent layer cannot be swapped; None where it can, and for layers of any other kind."""
    kind = type(layer)
    if isinstance(layer, torch.jit.ScriptModule):
        is_recurrent = layer.original_name in ("GRU", "LSTM")
        return "compiled by TorchScript: accelerate a module before it is scripted or traced" if is_recurrent else None
    if isinstance(layer, RecurrentBase):
        return f"is lvm_fast.{layer.mode} already"
    if isinstance(layer, nn.RNNCellBase):
        return f"{kind.__name__} takes one step at a time: there is nothing to gain"
    if not isinstance(layer, nn.RNNBase):
        return None
    if is_parametrized(layer):
        return "has parametrized weights: remove the parametrizations first, and register them again after"
    if kind not in _OURS:
        ours = [each.__name__ for each in _OURS if isinstance(layer, each)]
        if ours:
            return f"{kind.__name__} is a subclass of torch.nn.{ours[0]}, with ways of its own"
        return f"{kind.__name__}: there are kernels for torch.nn.GRU and torch.nn.LSTM"
    if "forward" in layer.__dict__:
        return "has a forward of its own"
    if layer.proj_size:
        return f"has projections (proj_size={layer.proj_size}), which are torch's own"
    return None

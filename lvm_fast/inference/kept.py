"""What is made from a model's weights and serves until they change."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from torch import Tensor, nn

T = TypeVar("T")


def kept(model: nn.Module, key: Hashable, make: Callable[[], T]) -> T:
    """What `make` made of the model under this key, made anew whenever a weight has changed since the last call.

    Changes are told by torch's version counters, which count every in-place change but those made through ``.data``.
    """
    tensors = [*model.parameters(), *model.buffers()]
    things = _KEPT.setdefault(model, {})
    if key in things and things[key].holds(tensors):
        thing: T = things[key].thing
        return thing
    made = make()
    if not any(tensor.is_inference() for tensor in tensors):  # torch counts no changes of these
        things[key] = _Kept(made, [_Mark(tensor, tensor.detach(), tensor._version) for tensor in tensors])
    return made


class _Mark(NamedTuple):
    """A tensor as it was; the alias keeps its memory from being given to another."""

    tensor: Tensor
    alias: Tensor
    version: int

    def holds(self, tensor: Tensor) -> bool:
        same = self.tensor is tensor and self.alias.data_ptr() == tensor.data_ptr()
        return same and self.version == tensor._version


class _Kept(NamedTuple):
    thing: Any
    marks: list[_Mark]

    def holds(self, tensors: list[Tensor]) -> bool:
        return len(self.marks) == len(tensors) and all(map(_Mark.holds, self.marks, tensors))


_KEPT: WeakKeyDictionary[nn.Module, dict[Hashable, _Kept]] = WeakKeyDictionary()

"""Keeps what is made from a model's weights until they change."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from .._core import fingerprint
from ..ops.runtime import simd_level

T = TypeVar("T")


def kept(model: nn.Module, name: str, content: Hashable, make: Callable[[], T]) -> T:
    """Return what `make` made of a model under this name; make it anew where the content is another than then."""
    things = _KEPT.setdefault(model, {})
    last = things.get(name)
    if last is None or last.content != content:
        last = things[name] = _Kept(content, make())
    thing: T = last.thing
    return thing


def content_of(tensors: Iterable[Tensor]) -> Hashable:
    """Describe the contents of tensors on the CPU, for `kept`: other bytes give another content.

    All bytes are read: nothing else notices what is written through ``.data``, a numpy view or shared memory.
    """
    whole = [tensor.detach().contiguous() for tensor in tensors]  # which hold the memory while another thread lets go
    number = fingerprint([(tensor.data_ptr(), tensor.nbytes) for tensor in whole])
    return simd_level(), number, tuple(tensor.dtype for tensor in whole), tuple(tensor.shape for tensor in whole)


def can_read(tensors: Iterable[Tensor]) -> bool:
    """Return whether `content_of` can read these: dense tensors on the CPU."""
    return all(tensor.device.type == "cpu" and tensor.layout == torch.strided for tensor in tensors)


class _Kept(NamedTuple):
    content: Hashable
    thing: Any


_KEPT: WeakKeyDictionary[nn.Module, dict[str, _Kept]] = WeakKeyDictionary()

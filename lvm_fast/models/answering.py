"""A module in evaluation mode for one answer, while the module itself may be training in another thread.

`module.eval()` and `module.train()` around an answer would change what other threads are in the middle of. A stand-in
has the same tensors and a mode of its own.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator
from functools import partial
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .._util.torch_compat import compiled_from, function_compiled, own_modules, shallow_copy

Module = TypeVar("Module", bound=nn.Module)
CopyTensor = Callable[[Tensor], Tensor]

_PLAIN = frozenset({int, float, bool, str, type(None), set, torch.dtype, torch.device, torch.Size})
_DICTS = (dict, OrderedDict)


def answering(model: Module) -> Module:
    """Make a stand-in for a module: in evaluation mode, with the same tensors, submodules' stand-ins and attributes.

    What its `forward` sets on itself is lost with it; a tensor that it changes in place is changed. Methods bound to
    the module or a submodule, and functions that refer to one, are bound to the stand-ins; what was compiled is eager.
    """
    stand_in: Module = _StandIns(model, None).of_model()
    return stand_in


def snapshot(model: Module, copy_tensor: CopyTensor) -> Module:
    """Copy a module as `answering` does, with its tensors, lists and dicts: its later changes do not reach the copy."""
    copied: Module = _StandIns(model, copy_tensor).of_model()
    return copied


def place_of(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and the float dtype in which a module reads its inputs: those of its first weights."""
    for tensors in (model.parameters(), model.buffers()):
        for tensor in tensors:
            if tensor.is_floating_point():
                return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.float32


def zeros_for(model: nn.Module, *shape: int) -> Tensor:
    """Make zeros of a shape on a module's device, in its dtype."""
    device, dtype = place_of(model)
    return torch.zeros(shape, device=device, dtype=dtype)


def read_by(model: Any, context: Tensor) -> Tensor:
    """Bring a context to the dtype that a module reads; a router casts it itself and gets it as it is."""
    return context if getattr(model, "casts_contexts", False) else context.to(place_of(model)[1])


class _StandIns:
    """The stand-ins of a module and all below it. Without `copy_tensor` tensors are shared."""

    def __init__(self, model: nn.Module, copy_tensor: CopyTensor | None) -> None:
        self._model = compiled_from(model)
        self._copy_tensor = copy_tensor
        self._found: dict[int, Any] = {}  # by the id of what each stands in for
        made: list[nn.Module] = []
        self._make(self._model, made)
        for stand_in in made:
            self._take_over(stand_in.__dict__)

    def of_model(self) -> Any:
        return self._found[id(self._model)]

    def _make(self, module: nn.Module, made: list[nn.Module]) -> nn.Module:
        if id(module) in self._found:
            known: nn.Module = self._found[id(module)]
            return known
        if isinstance(module, torch.jit.ScriptModule):
            # torch offers no copy that shares its tensors
            scripted = self._found[id(module)] = copy.deepcopy(module).eval()
            return scripted
        stand_in = self._found[id(module)] = shallow_copy(module)
        made.append(stand_in)
        stand_in.__dict__["training"] = False
        below = own_modules(stand_in)
        for name, child in below.items():
            if child is not None:
                below[name] = self._make(compiled_from(child), made)
        return stand_in

    def _take_over(self, held: dict[str, Any]) -> None:
        for name, value in held.items():
            kind = type(value)
            if kind in _PLAIN or name == "_modules" or (kind in _DICTS and not value):
                continue
            if self._copy_tensor is None and name in ("_parameters", "_buffers"):
                continue
            held[name] = self._of(value)

    def _of(self, value: Any) -> Any:
        """Return what a stand-in has in the place of a value."""
        kind = type(value)
        if kind in _PLAIN:
            return value
        if id(value) in self._found:
            return self._found[id(value)]
        if isinstance(value, Tensor):
            self._found[id(value)] = value if self._copy_tensor is None else self._copy_tensor(value)
            return self._found[id(value)]
        if kind is MethodType:
            return MethodType(value.__func__, self._of(value.__self__))
        if kind is partial:
            keywords = {name: self._of(item) for name, item in value.keywords.items()}
            return partial(self._of(value.func), *map(self._of, value.args), **keywords)
        if kind in (*_DICTS, list, tuple):
            return self._of_container(value)
        return self._of_function(value) if kind is FunctionType else value

    def _of_container(self, value: Any) -> Any:
        kind = type(value)
        self._found[id(value)] = value  # one that holds itself
        items = value.values() if kind in _DICTS else value
        mapped = list(map(self._of, items))
        if self._copy_tensor is not None or any(a is not b for a, b in zip(items, mapped, strict=True)):
            self._found[id(value)] = kind(zip(value, mapped, strict=True)) if kind in _DICTS else kind(mapped)
        return self._found[id(value)]

    def _of_function(self, function: FunctionType) -> Any:
        """A function that refers to the stand-ins where it referred to modules: by its closure, or by global names."""
        self._found[id(function)] = function  # one that refers to itself
        original = function_compiled(function)
        if original is not None:  # it would be compiled anew for every stand-in
            self._found[id(function)] = self._of(original)
            return self._found[id(function)]
        cells = function.__closure__ or ()
        contents = [_content(cell) for cell in cells]
        mapped = [self._of(content) for content in contents]
        used = {name: function.__globals__[name] for name in _names(function.__code__) if name in function.__globals__}
        moved = {name: self._of(item) for name, item in used.items() if isinstance(item, nn.Module | MethodType)}
        moved = {name: item for name, item in moved.items() if _differs(item, used[name])}
        if not moved and not any(map(_differs, mapped, contents)):
            return function
        names = {**function.__globals__, **moved} if moved else function.__globals__
        closure = tuple(CellType() if item is _EMPTY else CellType(item) for item in mapped)
        bound = FunctionType(function.__code__, names, function.__name__, function.__defaults__, closure)
        bound.__kwdefaults__ = function.__kwdefaults__
        bound.__dict__.update(function.__dict__)
        self._found[id(function)] = bound
        return bound


class _Empty:
    """Stands for the content of an empty cell."""


_EMPTY = _Empty()


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _EMPTY


def _differs(mapped: Any, value: Any) -> bool:
    if type(value) is MethodType:
        return mapped.__self__ is not value.__self__
    return mapped is not value


def _names(code: CodeType) -> Iterator[str]:
    """Return the global names of a function and of those within it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)

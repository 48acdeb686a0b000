"""Finds whether a model still is what its config builds: the same modules, with nothing between their calls.

The core's own passes, streams, exported programs and saved folders know a model by its config and its tensors. What
else was done to it (a module swapped, appended or wrapped, a hook, a method of its own) they have to notice.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from .._util.numbers import plain
from .._util.torch_compat import MODULE_OWN, has_forward_hooks, own_modules, own_tensors
from .model_types import class_below

# attributes that no answer depends on
_INERT = frozenset({"p", "dropout", "recompute", "metrics", "recipe_digest", "max_context", "model_type"})
_INERT_PRIVATE = frozenset({"_gate_scores", "_defers_writes"})
# what a subclass may have of its own and still compute as its parent does
_BESIDE_THE_PASS = frozenset(
    {"__init__", "__module__", "__doc__", "__annotations__", "__getstate__", "__setstate__", "__reduce__", "__repr__"}
    | {"__dict__", "__weakref__", "__parameters__", "__abstractmethods__", "_abc_impl", "__qualname__"}
    | {"__firstlineno__", "__static_attributes__", "__orig_bases__", "__annotate__", "__annotate_func__"}
    | {"model_type", "config_from_state", "extra_repr", "save_pretrained", "state_dict", "load_state_dict"}
)
_SIMPLE = (int, float, str, tuple, type(None))


class Change(NamedTuple):
    """One thing by which a model differs from what its config builds.

    Attributes:
        module: The path of the module that differs; empty for the model.
        kind: The class that it was built as.
        words: What differs.
        attribute: Which attribute or method is another, if it is one.
        cure: What undoes it, or makes it part of the weights.
        is_hook: It is a hook, which may do nothing but look.
    """

    module: str
    kind: type
    words: str
    attribute: str | None = None
    cure: str = "put back what `create_model` builds"
    is_hook: bool = False


def changes(model: nn.Module, kind: type | None = None) -> Iterator[Change]:
    """Find what differs between a model and what its config builds, but for the numbers of its tensors.

    Args:
        model: A model, a router, or any other module.
        kind: The class that it should be of; that of `create_model` unless given, or its own where there is none such.
    """
    kind = kind or class_below(type(model)) or type(model)
    yield from _overrides(type(model), kind)
    yield from changes_since_made(model)


def changes_since_made(model: nn.Module) -> Iterator[Change]:
    """Find what `changes` does, but for what the model's own class does otherwise."""
    kind: Any = class_below(type(model))
    if kind is None:
        yield from _around(model, type(model), "", frozenset())
        return
    try:
        built = _build(kind, json.dumps(model.config, default=plain))
    except (TypeError, ValueError) as error:
        yield Change("", kind, f"its config builds no {kind.__name__}: {error}", cure="correct `model.config`")
        return
    yield from _differences(model, built, "")


class _Built(NamedTuple):
    """A module as its constructor leaves it."""

    kind: type
    forward: Any
    attributes: dict[str, Any]  # the simple ones that matter
    names: frozenset[str]  # of all attributes, torch's own among them
    tensors: dict[str, torch.Size | None]
    modules: dict[str, _Built]


@lru_cache(maxsize=64)
def _build(kind: Any, config: str) -> _Built:
    with torch.device("meta"):  # shapes without numbers
        return _described(kind.from_config(json.loads(config)))


def _described(module: nn.Module) -> _Built:
    held = {name: value for name, value in module.__dict__.items() if name not in MODULE_OWN}
    matters = {
        name: value
        for name, value in held.items()
        if name not in _INERT | _INERT_PRIVATE and (isinstance(value, _SIMPLE) or callable(value))
    }
    return _Built(
        type(module),
        type(module).forward,
        matters,
        frozenset(module.__dict__),
        {name: None if tensor is None else tensor.shape for name, tensor in own_tensors(module).items()},
        {name: _described(child) for name, child in module.named_children()},
    )


def _overrides(own: type, kind: type) -> Iterator[Change]:
    """Find what a subclass computes otherwise."""
    for each in own.__mro__[: own.__mro__.index(kind)]:
        for name in vars(each):
            if name not in _BESIDE_THE_PASS and hasattr(kind, name):
                yield Change("", kind, f"{each.__name__} has a {name!r} of its own", name, f"use a {kind.__name__}")


def _around(module: nn.Module, kind: type, place: str, names: frozenset[str]) -> Iterator[Change]:
    """Find what stands between the calls of a module and its class: hooks, and methods of the instance's own."""
    if has_forward_hooks(module):
        yield Change(place, kind, f"{_named(place)} has forward hooks", cure="remove the hooks", is_hook=True)
    if len(module.__dict__) == len(names):
        return
    for name in module.__dict__.keys() - names - MODULE_OWN:
        if name not in _INERT and hasattr(type(module), name):
            yield Change(place, kind, f"{_named(place)} has a {name!r} of its own", name, f"delete its {name!r}")


def _differences(module: nn.Module, built: _Built, place: str) -> Iterator[Change]:
    if place and (type(module) is not built.kind or type(module).forward is not built.forward):
        yield _other_kind(module, built, place)
        return
    yield from _other_tensors(module, built, place)
    yield from _around(module, built.kind, place, built.names)
    held = module.__dict__
    for name, value in built.attributes.items():
        given = held.get(name, _MISSING)
        if given is not value and not (type(given) in _SIMPLE_TYPES and given == value):
            words = f"{_path(place, name)} = {given!r}; it was built with {value!r}"
            yield Change(place, built.kind, words, name, f"set {_path(place, name)} back")
    children = own_modules(module)
    yield from _other_children(children, built, place)
    for name, below in built.modules.items():
        child = children.get(name)
        if child is not None:
            yield from _differences(child, below, _path(place, name))


def _other_kind(module: nn.Module, built: _Built, place: str) -> Change:
    if is_parametrized(module):
        name = next(iter(module.parametrizations))  # type: ignore[arg-type]
        cure = f"merge it with torch.nn.utils.parametrize.remove_parametrizations(module, {name!r})"
        return Change(place, built.kind, f"{_path(place, name)} is parametrized", cure=cure)
    own, was = (kind.__name__ for kind in (type(module), built.kind))
    if own == was:
        own, was = f"{type(module).__module__}.{own}", f"{built.kind.__module__}.{was}"
    words = f"{_named(place)} is a {own}; it was built as a {was}"
    if any("lora" in name.lower() for name, _ in module.named_modules()) or "lora" in type(module).__name__.lower():
        return Change(place, built.kind, words, cure="merge the adapter into the weight (peft: merge_and_unload())")
    return Change(place, built.kind, words)


def _other_tensors(module: nn.Module, built: _Built, place: str) -> Iterator[Change]:
    tensors = own_tensors(module)
    if tensors.keys() != built.tensors.keys():
        yield _renamed(tensors, built, place)
        return
    for name, shape in built.tensors.items():
        tensor = tensors[name]
        if (None if tensor is None else tensor.shape) != shape:
            got = "None" if tensor is None else f"of shape {tuple(tensor.shape)}"
            was = "as None" if shape is None else f"with shape {tuple(shape)}"
            yield Change(place, built.kind, f"{_path(place, name)} is {got}; it was built {was}")
        elif type(tensor) not in _TENSORS:
            yield Change(place, built.kind, f"{_path(place, name)} is a {type(tensor).__name__}")


def _renamed(tensors: Mapping[str, Any], built: _Built, place: str) -> Change:
    """Reparametrizations of torch's older kind give a tensor's parts names of their own."""
    name = next((name for name in built.tensors if name not in tensors), None)
    if name is None:
        extra = ", ".join(name for name in tensors if name not in built.tensors)
        return Change(place, built.kind, f"{_named(place)} has more tensors: {extra}", cure="remove them")
    for part, what, cure in _REPARAMETRIZED:
        if f"{name}_{part}" in tensors:
            return Change(
                place, built.kind, f"{_path(place, name)} {what}", cure=f"merge it with {cure}(module, {name!r})"
            )
    return Change(place, built.kind, f"{_path(place, name)} is no tensor of the module any more")


def _other_children(children: Mapping[str, nn.Module | None], built: _Built, place: str) -> Iterator[Change]:
    if children.keys() == built.modules.keys() and None not in children.values():
        return
    for name in built.modules:
        if children.get(name) is None:
            yield Change(place, built.kind, f"{_path(place, name)} is gone")
    for name, child in children.items():
        if name not in built.modules and child is not None:
            yield Change(place, built.kind, f"{_path(place, name)}, a {type(child).__name__}, was added")


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _named(place: str) -> str:
    return place or "the model"


_MISSING = object()
_SIMPLE_TYPES = frozenset({int, float, str, bool, tuple, type(None)})
_TENSORS = (nn.Parameter, torch.Tensor, type(None))
# the name of a part that tells it, in words, and torch's function that merges it
_REPARAMETRIZED = (
    ("mask", "is pruned", "torch.nn.utils.prune.remove"),
    ("g", "has a weight norm", "torch.nn.utils.remove_weight_norm"),
    ("u", "has a spectral norm", "torch.nn.utils.remove_spectral_norm"),
)

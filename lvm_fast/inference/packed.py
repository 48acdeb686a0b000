"""Models packed for one context at a time: every weight once, in float32, bfloat16 or int8, for the core."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from .._core import MemoryGru
from .._util.torch_compat import calls_are_watched, own_tensors
from .kept import content_of, kept

PRECISIONS = ("float32", "bfloat16", "int8")
_HARMLESS = ("eps", "predict", "stream")  # the first is packed as it is, the others come before the pass


def check_precision(where: str, weights: Any) -> None:
    """Raise ValueError unless `weights` is the name of a precision."""
    if weights not in PRECISIONS:
        raise ValueError(f"{where}: weights = {weights!r}; expected {', '.join(map(repr, PRECISIONS))}")


def can_pack(where: str, model: Any, weights: str) -> bool:
    """Whether the core runs this model with such weights; float32 is left to torch where it does not.

    Raises:
        ValueError: It does not, and torch has no bfloat16 or int8 weights to offer either.
    """
    reason = _why_not(model)
    if weights == "float32":
        return reason is None and all(tensor.dtype == torch.float32 for tensor in _sources(model))
    if reason is not None:
        raise ValueError(f"{where}: weights = {weights!r} {reason}; expected 'float32' for this model")
    return True


def _why_not(model: Any) -> str | None:
    """Why the core does not run a model; None where it does: a memory GRU on the CPU, to which nothing was done."""
    from ..models.as_built import changes  # which imports the models, which import this module
    from ..models.memory_gru import MemoryGRU

    kind = type(model).__name__
    if not isinstance(model, MemoryGRU):
        return f"of a {kind}"
    for change in changes(model, MemoryGRU):
        if change.attribute not in _HARMLESS:
            return f"of a {kind}" + (f", where {change.words}" if type(model) is MemoryGRU else "")
    if calls_are_watched():
        return f"of a {kind}, whose calls a hook or mode of torch's watches"
    for tensor in _sources(model):
        if tensor.device.type != "cpu" or not tensor.is_floating_point():
            return f"of a {kind} that has {tensor.dtype} on {tensor.device}"
    return None


def packed(model: Any, weights: str) -> MemoryGru:
    """The packed model, made anew whenever something that it depends on has changed since the last call."""
    settings = (model.normalize_delta, model.input_norm.eps, model.fusion[3].eps)
    content = (settings, content_of(_sources(model)))
    return kept(model, weights, content, lambda: _pack_memory_gru(model, weights))


def _sources(model: Any) -> list[Tensor]:
    """Every tensor that predictions depend on."""
    modules = (
        model.gru,
        model.input_norm,
        model.memory.query_proj,
        model.fusion[0],
        model.fusion[3],
        model.output_proj[0],
        model.output_proj[3],
    )
    return [model.memory.memory, *(tensor for module in modules for tensor in own_tensors(module).values())]


def _pack_memory_gru(model: Any, weights: str) -> MemoryGru:
    """Fold all that does not depend on the input, in float64: the first memory read, and both products of the second.

    The cosine of the query ``k = W h + b`` with a slot m is ``(m^ W) h + m^ b`` over ``||k||`` for the unit slot m^,
    and the fusion's share of the content ``sum p_s m_s`` is ``sum p_s (F m_s)``. Of the p_s, their mean is known.
    """
    with torch.no_grad():
        slots, query = model.memory.memory.double(), model.memory.query_proj  # (S, D)
        query_weight, query_bias = query.weight.double(), query.bias.double()  # (D, H), (D,)
        fusion, fusion_norm = model.fusion[0], model.fusion[3]
        from_state, from_content = fusion.weight.double().split([query.in_features, query.out_features], dim=1)
        unit_slots = F.normalize(slots, dim=1)
        keys = torch.cat((unit_slots @ query_weight, query_weight, from_state))  # (S + D + H, H)
        keys_bias = torch.cat((unit_slots @ query_bias, query_bias, fusion.bias.double()))
        contents = from_content @ slots.T  # (H, S)
        layers = [[_array(tensor) for tensor in layer] for layer in _layers(model)]
        return MemoryGru(
            weights=weights,
            layers=layers,
            input_norm=_pair(model.input_norm),
            input_epsilon=model.input_norm.eps,
            keys=(_array(keys), _array(keys_bias)),
            contents=(_array(contents), _array(contents.mean(dim=1))),
            fusion_norm=_pair(fusion_norm),
            fusion_epsilon=fusion_norm.eps,
            widen=_pair(model.output_proj[0]),
            narrow=_pair(model.output_proj[3]),
            unit_delta=model.normalize_delta,
        )


def _layers(model: Any) -> list[list[Tensor]]:
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    layers = [[model.gru.get_parameter(f"{name}_l{i}") for name in names] for i in range(model.gru.num_layers)]
    layers[0][0], layers[0][2] = model.folded_input()
    return layers


def _pair(module: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    return _array(module.weight), _array(module.bias)


def _array(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return array

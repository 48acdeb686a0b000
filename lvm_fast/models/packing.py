"""What models have in common when they are packed for the core: the float32 arrays of their modules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.torch_compat import own_tensors
from ..layers.recurrent import Recurrent

Pair = tuple[NDArray[np.float32], NDArray[np.float32]]


def array_of(tensor: Tensor) -> NDArray[np.float32]:
    """Return a tensor's numbers in float32."""
    array: NDArray[np.float32] = tensor.detach().to("cpu", torch.float32).contiguous().numpy()
    return array


def pair_of(module: Any) -> Pair:
    """Return a module's weight and bias."""
    return array_of(module.weight), array_of(module.bias)


def norm_of(module: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Return a LayerNorm's weight, bias and epsilon."""
    return *pair_of(module), float(module.eps)


def layers_of(recurrent: Recurrent) -> list[list[NDArray[np.float32]]]:
    """Return weight_ih, weight_hh, bias_ih and bias_hh of each layer."""
    return [[array_of(tensor) for tensor in weights] for weights in recurrent.layer_weights()]


def tensors_of(modules: Iterable[nn.Module]) -> list[Tensor]:
    """Return the modules' own parameters and buffers."""
    return [tensor for module in modules for tensor in own_tensors(module).values()]

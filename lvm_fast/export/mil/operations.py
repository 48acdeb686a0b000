"""Computes each MIL operation in numpy: float32 in, float32 out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"MIL interpreter: {what}, which is unknown here")


def _cast(x: Array, dtype: str) -> Array:
    _require(dtype in ("fp16", "fp32"), f"cast to {dtype}")
    return x  # the interpreter rounds every result to its type


def _concat(values: list[Array], axis: int, interleave: bool = False) -> Array:
    _require(not interleave, "concat with interleave")
    return np.concatenate(values, axis)


def _gather(x: Array, indices: Array, axis: int, batch_dims: int = 0, validate_indices: bool = False) -> Array:
    _require(batch_dims == 0, "gather with batch_dims")
    return np.take(x, indices, axis)


def _gelu(x: Array, mode: str) -> Array:
    _require(mode == "EXACT", f"gelu of mode {mode}")
    result: Array = torch.nn.functional.gelu(torch.from_numpy(x)).numpy()
    return result


def _layer_norm(x: Array, axes: Array, gamma: Array, beta: Array, epsilon: float) -> Array:
    axis = tuple(axes)
    centred = x - x.mean(axis, keepdims=True)
    variance = np.square(centred).mean(axis, keepdims=True)
    result: Array = centred / np.sqrt(variance + epsilon) * gamma + beta
    return result


def _matmul(x: Array, y: Array, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    result: Array = (x.swapaxes(-1, -2) if transpose_x else x) @ (y.swapaxes(-1, -2) if transpose_y else y)
    return result


def _slice_by_index(
    x: Array, begin: Array, end: Array, end_mask: Array | None = None, squeeze_mask: Array | None = None
) -> Array:
    open_ended = [False] * x.ndim if end_mask is None else end_mask
    ends = [None if to_end else last for last, to_end in zip(end, open_ended, strict=True)]
    sliced = x[tuple(map(slice, begin, ends))]
    return sliced if squeeze_mask is None else sliced.squeeze(tuple(np.flatnonzero(squeeze_mask)))


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    result: Array = powers / powers.sum(axis, keepdims=True)
    return result


def _split(x: Array, axis: int, split_sizes: Any = None, num_splits: Any = None) -> list[Array]:
    return np.split(x, num_splits if split_sizes is None else np.cumsum(split_sizes)[:-1], axis)


def _topk(
    x: Array,
    k: int,
    axis: int,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> list[Array]:
    _require(sort and return_indices and not ascending, "topk that does not sort, or sorts upwards")
    order = np.argsort(-x, axis=axis, kind="stable").take(range(k), axis)
    return [np.take_along_axis(x, order, axis), order.astype(output_indices_dtype)]


def _update_state(state: Array, value: Array) -> Array:
    state[...] = value
    return value


def _band_part(x: Array, lower: int, upper: int) -> Array:
    _require((lower, upper) == (-1, 0), "band_part other than the lower triangle")
    return np.tril(x)


def _pad(x: Array, pad: Array, mode: str, constant_val: float) -> Array:
    _require(mode == "constant", f"pad of mode {mode}")
    return np.pad(x, np.reshape(pad, (x.ndim, 2)), constant_values=constant_val)


def _reshape(x: Array, shape: Array) -> Array:
    _require(0 not in shape, "reshape that copies a size")
    return x.reshape(tuple(shape))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "band_part": _band_part,
    "cast": _cast,
    "concat": _concat,
    "coreml_update_state": _update_state,
    "equal": lambda x, y: x == y,
    "expand_dims": lambda x, axes: np.expand_dims(x, tuple(axes)),
    "fill": lambda shape, value: np.full(shape, value),
    "gather": _gather,
    "gelu": _gelu,
    "greater": lambda x, y: x > y,
    "greater_equal": lambda x, y: x >= y,
    "identity": lambda x: x,
    "layer_norm": _layer_norm,
    "less": lambda x, y: x < y,
    "linear": lambda x, weight, bias: x @ weight.T + bias,
    "matmul": _matmul,
    "maximum": lambda x, y: np.maximum(x, y),
    "minimum": lambda x, y: np.minimum(x, y),
    "mul": lambda x, y: x * y,
    "pad": _pad,
    "pow": lambda x, y: x**y,
    "range_1d": lambda start, end, step: np.arange(start, end, step),
    "read_state": lambda input: input.astype(np.float32),
    "real_div": lambda x, y: x / y,
    "reduce_l2_norm": lambda x, axes, keep_dims: np.sqrt(np.square(x).sum(tuple(axes), keepdims=bool(keep_dims))),
    "reduce_mean": lambda x, axes, keep_dims: x.mean(tuple(axes), keepdims=bool(keep_dims)),
    "relu": lambda x: np.maximum(x, 0),
    "reshape": _reshape,
    "shape": lambda x: np.array(x.shape, np.int32),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "slice_by_index": _slice_by_index,
    "softmax": _softmax,
    "split": _split,
    "squeeze": lambda x, axes: np.squeeze(x, tuple(axes)),
    "sub": lambda x, y: x - y,
    "tanh": lambda x: np.tanh(x),
    "topk": _topk,
    "transpose": lambda x, perm: x.transpose(tuple(perm)),
}

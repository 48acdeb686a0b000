"""Runs a saved ML program with numpy, so that a package can be checked on any machine.

Numbers are held as float32; what the program types as float16 is rounded to float16 after every operation, while the
sums inside an operation are float32: what Core ML's back ends do, up to the order of their sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from .package import read_package
from .toolkit import Operation, types

Array: TypeAlias = NDArray[Any]
State: TypeAlias = dict[str, Array]
_Values: TypeAlias = dict[Any, Any]  # a MIL variable's value


class SavedProgram:
    """A package read back from disk, to look into and to run.

    Args:
        path: The ``.mlpackage``.

    Attributes:
        spec: coremltools' model specification: descriptions and metadata.
        functions: The names of its functions.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable ML program package, or holds an operation that is not known here.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.spec, program = read_package(path)
        self._blocks = dict(program.functions)
        self.functions = [function.name for function in self.spec.description.functions] or ["main"]
        self._constants: _Values = {}
        self._steps: dict[Any, list[Operation]] = {}
        for name, function in self._blocks.items():
            for operation in _operations(function):
                if operation.op_type not in (*_OPERATIONS, "const", "while_loop"):
                    raise ValueError(f"{path}: function {name!r} uses operation {operation.op_type!r}, unknown here")
            self._prepare(function)

    def _prepare(self, block: Any) -> None:
        self._steps[block] = [operation for operation in block.operations if operation.op_type != "const"]
        for operation in block.operations:
            if operation.op_type == "const":
                self._constants[operation.outputs[0]] = _widened(operation.outputs[0].val)
            for inner in operation.blocks:
                self._prepare(inner)

    def weights(self, function: str) -> dict[str, Array]:
        """The float arrays among the constants of a function, by name, in the dtype they are stored in."""
        constants = (op.outputs[0] for op in _operations(self._blocks[function]) if op.op_type == "const")
        return {var.name: var.val for var in constants if np.ndim(var.val) > 0 and var.val.dtype.kind == "f"}

    def count_operations(self, function: str) -> int:
        """How many operations a function has that are not constants; those of a loop count once."""
        return sum(operation.op_type != "const" for operation in _operations(self._blocks[function]))

    def input_shapes(self, function: str) -> dict[str, tuple[int, ...]]:
        """The inputs that `run` takes, by name; states are no inputs."""
        inputs = self._blocks[function].inputs
        return {name: tuple(var.shape) for name, var in inputs.items() if not types.is_state(var.sym_type)}

    def new_state(self, function: str) -> State:
        """Zeros for the states of a function, float16."""
        inputs = self._blocks[function].inputs
        return {name: np.zeros(var.shape, np.float16) for name, var in inputs.items() if types.is_state(var.sym_type)}

    def run(self, function: str, inputs: Mapping[str, Array], state: State | None = None) -> dict[str, Array]:
        """Run a function.

        Args:
            function: Its name.
            inputs: Its inputs by name, of the shapes it declares.
            state: Its states, from `new_state`; changed in place.

        Returns:
            Its outputs by name, float32.

        Raises:
            ValueError: An input or state is missing or has another shape.
        """
        given = {**inputs, **(state or {})}
        values: _Values = {}
        for name, var in self._blocks[function].inputs.items():
            if name not in given or given[name].shape != var.shape:
                got = given[name].shape if name in given else "nothing"
                raise ValueError(f"{function}: input {name!r} is {got}; expected shape {var.shape}")
            values[var] = given[name] if types.is_state(var.sym_type) else _rounded(given[name], var)
        with np.errstate(over="ignore"):  # float16 overflows to infinity here as it does there
            self._run_block(self._blocks[function], values)
        return {var.name: values[var] for var in self._blocks[function].outputs}

    def _run_block(self, block: Any, values: _Values) -> list[Any]:
        for operation in self._steps[block]:
            if operation.op_type == "while_loop":
                results = self._run_loop(operation, values)
            else:
                inputs = {name: self._value(var, values) for name, var in operation.inputs.items()}
                results = _OPERATIONS[operation.op_type](**inputs)
            results = results if isinstance(results, list) else [results]
            values.update((var, _rounded(result, var)) for var, result in zip(operation.outputs, results, strict=True))
        return [self._value(var, values) for var in block.outputs]

    def _run_loop(self, operation: Operation, values: _Values) -> list[Any]:
        condition, body = operation.blocks
        carried = [self._value(var, values) for var in operation.loop_vars]
        while True:
            values.update(zip(condition.inputs, carried, strict=True))
            if not self._run_block(condition, values)[0].all():
                return carried
            values.update(zip(body.inputs, carried, strict=True))
            carried = self._run_block(body, values)

    def _value(self, var: Any, values: _Values) -> Any:
        if isinstance(var, (list, tuple)):
            return [self._value(item, values) for item in var]
        return self._constants[var] if var in self._constants else values[var]


def _operations(block: Any) -> Iterator[Operation]:
    """Every operation of a block and of the blocks inside it."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _widened(value: Any) -> Any:
    is_half = isinstance(value, (np.ndarray, np.generic)) and value.dtype == np.float16
    return value.astype(np.float32) if is_half else value


def _rounded(value: Array, var: Any) -> Array:
    """A result on the grid of its variable's type."""
    if var.dtype == types.fp16:
        return value.astype(np.float16).astype(np.float32)
    return value.astype(np.float32, copy=False) if var.dtype == types.fp32 else value


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"MIL interpreter: {what}, which is unknown here")


def _cast(x: Array, dtype: str) -> Array:
    _require(dtype in ("fp16", "fp32"), f"cast to {dtype}")
    return x  # rounded to its new type as every result is


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


def _slice_by_index(x: Array, begin: Array, end: Array) -> Array:
    return x[tuple(slice(first, last) for first, last in zip(begin, end, strict=True))]


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis, keepdims=True))
    result: Array = powers / powers.sum(axis, keepdims=True)
    return result


def _split(x: Array, axis: int, split_sizes: Any = None, num_splits: Any = None) -> list[Array]:
    return np.split(x, num_splits if split_sizes is None else np.cumsum(split_sizes)[:-1], axis)


def _update_state(state: Array, value: Array) -> Array:
    state[...] = value
    return value


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda x, y: x + y,
    "cast": _cast,
    "concat": _concat,
    "coreml_update_state": _update_state,
    "fill": lambda shape, value: np.full(shape, value),
    "gather": _gather,
    "gelu": _gelu,
    "identity": lambda x: x,
    "layer_norm": _layer_norm,
    "less": lambda x, y: x < y,
    "linear": lambda x, weight, bias: x @ weight.T + bias,
    "matmul": _matmul,
    "maximum": lambda x, y: np.maximum(x, y),
    "mul": lambda x, y: x * y,
    "read_state": lambda input: input.astype(np.float32),
    "real_div": lambda x, y: x / y,
    "reduce_l2_norm": lambda x, axes, keep_dims: np.sqrt(np.square(x).sum(tuple(axes), keepdims=bool(keep_dims))),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "slice_by_index": _slice_by_index,
    "softmax": _softmax,
    "split": _split,
    "squeeze": lambda x, axes: np.squeeze(x, tuple(axes)),
    "sub": lambda x, y: x - y,
    "tanh": lambda x: np.tanh(x),
}

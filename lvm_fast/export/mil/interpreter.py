"""Runs ML programs with numpy, so that a package can be checked on any machine.

Numbers are held as float32; what the program types as float16 is rounded to float16 after every operation, while the
sums inside an operation are float32: what Core ML's back ends do, up to the order of their sums.
"""

from __future__ import annotations

import copy
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

import numpy as np

from ..compression import Stored
from ..coremltools_compat import Function, Operation, types
from ..package.package import inputs_of, read_package, shape_of
from .constants import COMPRESSED, read_compressed
from .operations import OPERATIONS, Array

State: TypeAlias = dict[str, Array]
_Values: TypeAlias = dict[Any, Any]  # a MIL variable's value
_ROUNDS = "rounds"  # the most that a loop may go, among the values


class _Step:
    """An operation that is no constant: what computes it, None for loops, its inputs, and its outputs with grids."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.compute = OPERATIONS.get(operation.op_type)
        self.inputs = [(name, var) for name, var in operation.inputs.items() if var is not None]
        if self.compute is not None:
            _check_parameters(operation.op_type, self.compute, dict(self.inputs))
        self.outputs = [(var, _grid(var)) for var in operation.outputs]


class Interpreter:
    """Functions of an ML program, to look into and to run.

    Args:
        blocks: The functions by name.

    Attributes:
        functions: Their names.

    Raises:
        ValueError: A function holds an operation, or a parameter of one, that is not known here.
    """

    def __init__(self, blocks: Mapping[str, Function]) -> None:
        self.functions = list(blocks)
        self._blocks = dict(blocks)
        self._constants: _Values = {}
        self._steps: dict[Any, list[_Step]] = {}
        for name, function in blocks.items():
            for operation in _operations(function):
                if operation.op_type not in (*OPERATIONS, *COMPRESSED, "const", "while_loop"):
                    raise ValueError(f"function {name!r} uses operation {operation.op_type!r}, unknown here")
            self._prepare(function)

    def _prepare(self, block: Any) -> None:
        self._steps[block] = [_Step(operation) for operation in block.operations if not _is_constant(operation)]
        for operation in block.operations:
            if operation.op_type in COMPRESSED:
                self._constants[operation.outputs[0]] = _widened(read_compressed(operation).values())
            elif operation.op_type == "const":
                self._constants[operation.outputs[0]] = _widened(operation.outputs[0].val)
            for inner in operation.blocks:
                self._prepare(inner)

    def with_constants(self, function: str, arrays: Mapping[str, Array]) -> Interpreter:
        """The same program with these numbers in place of a function's compressed constants of the same names.

        Itself where the function has none of them, or one is of another shape.
        """
        operations = _operations(self._blocks[function])
        found = [op.outputs[0] for op in operations if op.op_type in COMPRESSED and op.outputs[0].name in arrays]
        if not found or any(tuple(var.shape) != arrays[var.name].shape for var in found):
            return self
        other = copy.copy(self)
        other._constants = self._constants | {var: arrays[var.name].astype(np.float32) for var in found}
        return other

    def weights(self, function: str) -> dict[str, Stored]:
        """The float arrays and compressed matrices among a function's constants, by name, as they are stored."""
        operations = _operations(self._blocks[function])
        return {op.outputs[0].name: stored for op in operations if (stored := _stored(op)) is not None}

    def output_names(self, function: str) -> list[str]:
        """The names of what `run` gives back."""
        return [var.name for var in self._blocks[function].outputs]

    def count_operations(self, function: str) -> int:
        """How many operations a function has that are not constants; those of a loop count once."""
        return sum(not _is_constant(operation) for operation in _operations(self._blocks[function]))

    def input_shapes(self, function: str) -> dict[str, tuple[int | None, ...]]:
        """The inputs that `run` takes, by name, None where any size fits; states are no inputs."""
        return inputs_of(self._blocks[function])

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
            Its outputs by name, float32, or int32 where they are integers.

        Raises:
            ValueError: An input or state is missing or has another shape, or a loop does not end.
        """
        given = {**inputs, **(state or {})}
        values: _Values = {_ROUNDS: max((size for array in inputs.values() for size in array.shape), default=0)}
        for name, var in self._blocks[function].inputs.items():
            if name not in given or not _fits(given[name].shape, shape_of(var)):
                got = given[name].shape if name in given else "nothing"
                raise ValueError(f"{function}: input {name!r} is {got}; expected shape {shape_of(var)}")
            values[var] = given[name] if types.is_state(var.sym_type) else _rounded(given[name], _grid(var))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # infinity and NaN arise as they do there
            self._run_block(self._blocks[function], values)
        return {var.name: values[var] for var in self._blocks[function].outputs}

    def _run_block(self, block: Any, values: _Values) -> list[Any]:
        for step in self._steps[block]:
            if step.compute is None:
                results = self._run_loop(step.operation, values)
            else:
                results = step.compute(**{name: self._value(var, values) for name, var in step.inputs})
            results = results if isinstance(results, list) else [results]
            for (var, grid), result in zip(step.outputs, results, strict=True):
                values[var] = _rounded(result, grid)
        return [self._value(var, values) for var in block.outputs]

    def _run_loop(self, operation: Operation, values: _Values) -> list[Any]:
        condition, body = operation.blocks
        carried = [self._value(var, values) for var in operation.loop_vars]
        for _ in range(values[_ROUNDS] + 1):
            values.update(zip(condition.inputs, carried, strict=True))
            if not self._run_block(condition, values)[0].all():
                return carried
            values.update(zip(body.inputs, carried, strict=True))
            carried = self._run_block(body, values)
        raise ValueError(f"a loop goes on for more than {values[_ROUNDS]} rounds; expected one a vector of the input")

    def _value(self, var: Any, values: _Values) -> Any:
        if isinstance(var, (list, tuple)):
            return [self._value(item, values) for item in var]
        return self._constants[var] if var in self._constants else values[var]


class SavedProgram(Interpreter):
    """A package read back from disk.

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
        try:
            super().__init__(program.functions)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        self.functions = [function.name for function in self.spec.description.functions] or ["main"]
        for name in self.functions:
            if name not in self._blocks:
                raise ValueError(f"{path}: function {name!r} is described, but there is none")


def _check_parameters(name: str, compute: Callable[..., Any], given: Mapping[str, Any]) -> None:
    try:
        inspect.signature(compute).bind(**given)
    except TypeError as error:
        raise ValueError(f"operation {name!r}: {error}; expected it as lvm_fast writes it") from error


def _operations(block: Any) -> Iterator[Operation]:
    """Every operation of a block and of the blocks inside it."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _is_constant(operation: Operation) -> bool:
    return operation.op_type == "const" or operation.op_type in COMPRESSED


def _stored(operation: Operation) -> Stored | None:
    """A float array or a compressed matrix among the constants; None for other operations, and for parts of these."""
    if operation.op_type in COMPRESSED:
        return read_compressed(operation)
    if operation.op_type != "const" or any(child.op_type in COMPRESSED for child in operation.outputs[0].child_ops):
        return None
    value: Array = operation.outputs[0].val
    return value if np.ndim(value) > 0 and value.dtype.kind == "f" else None


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(size in (None, got) for got, size in zip(shape, wanted, strict=True))


def _widened(value: Any) -> Any:
    is_half = isinstance(value, (np.ndarray, np.generic)) and value.dtype == np.float16
    return value.astype(np.float32) if is_half else value


def _grid(var: Any) -> str | None:
    """ "float16" or "float32", what the numbers of a variable are rounded to; None for other types."""
    return {types.fp16: "float16", types.fp32: "float32"}.get(var.dtype)


def _rounded(value: Array, grid: str | None) -> Array:
    if grid == "float16":
        return value.astype(np.float16).astype(np.float32)
    return value if grid is None else value.astype(np.float32, copy=False)

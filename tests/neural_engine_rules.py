"""What the Neural Engine asks of the functions of a package or an asset."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

Shapes: TypeAlias = dict[str, tuple[int | None, ...]]


class Function(NamedTuple):
    """The tensors that go into and out of a function, those that it keeps, and how many loops it has."""

    inputs: Shapes
    outputs: Shapes
    states: Shapes
    loops: int


def check_rules(functions: dict[str, Function], streams: bool) -> None:
    """No last axis is 1, the width of a state is a multiple of 32, and `step` has no loop."""
    for function in functions.values():
        assert function.inputs
        assert function.outputs
        for shapes in (function.inputs, function.outputs, function.states):
            assert all(shape[-1] != 1 for shape in shapes.values())
        assert all(shape[-1] is not None and shape[-1] % 32 == 0 for shape in function.states.values())
    assert ("step" in functions) == streams
    if streams:
        assert functions["step"].states
        assert functions["step"].loops == 0

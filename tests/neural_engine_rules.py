"""What the Neural Engine asks of the functions of a package or an asset."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

RECURRENT = ("memory_gru", "gru", "lstm", "hierarchical_gru", "specialist_gru")

Shapes: TypeAlias = dict[str, tuple[int | None, ...]]


class Function(NamedTuple):
    """The tensors that go into and out of a function, those that it keeps, and how many loops it has."""

    inputs: Shapes
    outputs: Shapes
    states: Shapes
    loops: int


def check_rules(functions: dict[str, Function], model_type: str) -> None:
    """No last axis is 1, a state is a multiple of 32 wide; `step`, and all that is not recurrent, has no loop."""
    for function in functions.values():
        assert function.inputs
        assert function.outputs
        for shapes in (function.inputs, function.outputs, function.states):
            assert all(shape[-1] != 1 for shape in shapes.values())
        assert all(shape[-1] is not None and shape[-1] % 32 == 0 for shape in function.states.values())
    with_loops = {name for name, function in functions.items() if function.loops}
    assert with_loops == {name for name in functions if name.startswith("predict") and model_type in RECURRENT}
    with_states = {name for name, function in functions.items() if function.states}
    assert with_states == (set() if model_type == "amn" else {"step"})

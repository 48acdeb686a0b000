"""Builds the functions of an asset, as modules for torch's exporter."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from ..candidate_bank import ROWS_NAME, CandidateBank
from ..compression import Palettized, Quantized, Stored
from .layers import Layers
from .program import PRECISIONS, Program

Compute: TypeAlias = Callable[..., tuple[Tensor, ...]]  # layers and inputs -> outputs


@dataclass(frozen=True)
class Function:
    """One function of an asset.

    Attributes:
        module: What it computes.
        inputs: Its inputs by name, as examples; `longest` says which size of them may be another.
        outputs: The names of its outputs.
        states: What it keeps between calls by name, zeros.
        scope: What comes before the names of its constants.
        longest: The largest second size of its input, where any from 1 on will do.
        most: The largest first size of its input, where any from 1 on will do.
    """

    module: ConstantModule
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    states: Mapping[str, Tensor] = field(default_factory=dict)
    scope: str = ""
    longest: int | None = None
    most: int | None = None

    def input_shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of its inputs, None where any size will do."""
        shapes: dict[str, tuple[int | None, ...]] = {}
        for name, example in self.inputs.items():
            batch, *rest = example.shape
            shapes[name] = (batch, *rest) if self.longest is None else (batch, None, *rest[1:])
        return shapes


class ConstantModule(nn.Module):
    """A function of some tensors, with constants that are stored as an asset stores them.

    Args:
        compute: Called as ``compute(layers, *inputs)``.
        stored: The constants by name.
        precision: Of the layers.
    """

    def __init__(self, compute: Compute, stored: Mapping[str, Stored], precision: torch.dtype) -> None:
        super().__init__()
        self.stored = stored
        self._compute = compute
        self._precision = precision
        for name, constant in stored.items():
            for part, array in parts_of(constant).items():
                self.register_buffer(_attribute(name, part), torch.from_numpy(np.ascontiguousarray(array)))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs; the states, which follow the inputs, change in place."""
        return self._compute(Layers({name: self._tensor(name) for name in self.stored}, self._precision), *inputs)

    def _tensor(self, name: str) -> Tensor:
        """Return a constant as the layers read it; a compressed one by the operator that an asset has for it."""
        constant = self.stored[name]
        parts: list[Any] = [self.get_buffer(_attribute(name, part)) for part in parts_of(constant)]
        if isinstance(constant, Quantized):
            tensor: Tensor = torch.ops.coreai.constexpr_blockwise_shift_scale(*parts)
        elif isinstance(constant, Palettized):
            tensor = torch.ops.coreai.lut_to_dense(*parts, 0)
        else:
            (tensor,) = parts
        return tensor


def parts_of(constant: Stored) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Return the arrays that make up a constant, by what Apple's converter calls them."""
    if isinstance(constant, Quantized):
        return {"data": constant.data, "scale": constant.scale}
    if isinstance(constant, Palettized):
        return {"indices": constant.indices, "lut": constant.palettes}
    return {"values": constant}


def predict_function(program: Program, length: int) -> Function:
    """Build ``predict_N``: ``context`` (1, N, D) -> `ModelProgram.outputs`, (1, D) each."""
    return _predict(program, length, None)


def flexible_function(program: Program, longest: int) -> Function:
    """Build ``predict``: ``context`` (1, N, D) for any N from 1 to `longest`."""
    return _predict(program, min(longest, 2), longest if longest > 1 else None)


def batched_function(program: Program, most: int, longest: int) -> Function:
    """Build ``predict``: ``context`` (B, N, D) for any B up to `most` and any N up to `longest`; both at least 2."""
    return replace(_predict(program, 2, longest, 2), most=most)


def _predict(program: Program, length: int, longest: int | None, batch: int = 1) -> Function:
    context = torch.zeros(batch, length, program.dim)
    module = ConstantModule(program.predict, program.stored(None if longest else length), program.precision)
    return Function(module, {"context": context}, program.outputs, {}, program.options.scope, longest)


def step_function(program: Program) -> Function:
    """Build ``step``: ``vector`` (1, D) -> the outputs of `predict_function`; it keeps the program's states."""
    states = {
        name: torch.zeros(state.laid_out, dtype=state.dtype or program.precision)
        for name, state in program.states().items()
    }
    module = ConstantModule(program.step, program.stored(None), program.precision)
    return Function(module, {"vector": torch.zeros(1, program.dim)}, program.outputs, states, program.options.scope)


def topk_function(bank: CandidateBank, precision: str) -> Function:
    """Build ``topk``: ``query`` (1, D) -> ``scores`` (1, K) and ``ids`` (1, K) of the largest inner products."""

    def compute(layers: Layers, query: Tensor) -> tuple[Tensor, ...]:
        products = layers.narrow(query) @ layers.narrow(layers[ROWS_NAME]).T  # (1, N)
        scores, ids = products.topk(bank.k, dim=-1)
        return scores.float(), ids.int()

    rows = bank.stored(precision)
    if isinstance(rows, np.ndarray):  # the converter casts a constant itself, and keeps what comes of it
        rows = rows.astype(precision)
    module = ConstantModule(compute, {ROWS_NAME: rows}, PRECISIONS[precision])
    return Function(module, {"query": torch.zeros(1, bank.rows.shape[1])}, ("scores", "ids"))


def _attribute(name: str, part: str) -> str:
    return f"{name}.{part}".replace(".", "_")

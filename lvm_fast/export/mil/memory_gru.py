"""Builds the Core ML program of memory_gru."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ...models.memory_gru import MemoryGRU
from ..coremltools_compat import mb
from .layers import Variable, gelu, unit
from .program import arrays
from .stacked_gru import StackedGRUProgram


class MemoryGRUProgram(StackedGRUProgram[MemoryGRU]):
    """Builds the MIL functions of a memory_gru."""

    def fold(self, model: MemoryGRU) -> dict[str, NDArray[np.float32]]:
        """Return the model's tensors under their own names, with three changes.

        - ``gru.weight_ih_l0`` (3H, D) and ``gru.bias_ih_l0`` (3H,) include the first memory read, which is constant.
        - ``memory.rows`` (S, D) and ``memory.norms`` (S,) are the slots as unit vectors and lengths.
        - The write gate is left out, because only training uses it.
        """
        unused = ("memory.memory", "memory.write_gate.")
        tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(unused)}
        exact = copy.deepcopy(model).double()  # so that all machines round to the same constants
        with torch.no_grad():
            tensors["gru.weight_ih_l0"], tensors["gru.bias_ih_l0"] = exact.folded_input()
            tensors["memory.rows"] = normalize(exact.memory.memory, dim=1)
            tensors["memory.norms"] = exact.memory.memory.norm(dim=1)
        return arrays(tensors)

    def head(self, final: Variable) -> Variable:
        """See `StackedGRUProgram.head`: second memory read, fusion and projection."""
        layers = self.layers
        fused = mb.concat(values=[final, self._read_memory(final)], axis=-1)  # (B, H + D)
        fused = layers.layer_norm(gelu(layers.dense(fused, "fusion.0")), "fusion.3")  # (B, H)
        return layers.dense(gelu(layers.dense(fused, "output_proj.0")), "output_proj.3")

    def _read_memory(self, query: Variable) -> Variable:
        """Attend to the slots by cosine: (B, H) -> (B, D). A slot is row times norm, so one matrix serves twice."""
        key = self.layers.dense(query, "memory.query_proj")  # (B, D)
        rows = self.layers.matrix("memory.rows")  # (S, D)
        cosines = mb.matmul(x=self.layers.to_precision(unit(key)), y=rows, transpose_y=True)  # (B, S)
        weights = mb.mul(x=mb.softmax(x=cosines, axis=-1), y=self.layers.constant("memory.norms"))  # (B, S)
        return mb.matmul(x=weights, y=rows)

"""memory_gru as a Core ML program."""

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
        """The constants of the program.

        They are the model's tensors under their own names, but for three foldings: ``gru.weight_ih_l0`` (3H, D) and
        ``gru.bias_ih_l0`` (3H,) have the constant first memory read folded in, ``memory.rows`` (S, D) and
        ``memory.norms`` (S,) are the slots as unit vectors and lengths, and the write gate, which only training
        uses, is left out.
        """
        unused = ("memory.memory", "memory.write_gate.")
        tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(unused)}
        wide = copy.deepcopy(model).double()  # so that all machines round to the same constants
        with torch.no_grad():
            tensors["gru.weight_ih_l0"], tensors["gru.bias_ih_l0"] = wide.folded_input()
            tensors["memory.rows"] = normalize(wide.memory.memory, dim=1)
            tensors["memory.norms"] = wide.memory.memory.norm(dim=1)
        return arrays(tensors)

    def head(self, final: Variable) -> Variable:
        """Second memory read, fusion and projection. See `StackedGRUProgram.head`."""
        layers = self.layers
        fused = mb.concat(values=[final, self._read_memory(final)], axis=-1)  # (B, H + D)
        fused = layers.layer_norm(gelu(layers.dense(fused, "fusion.0")), "fusion.3")  # (B, H)
        return layers.dense(gelu(layers.dense(fused, "output_proj.0")), "output_proj.3")

    def _read_memory(self, query: Variable) -> Variable:
        """Softmax attention by cosine: (B, H) -> (B, D). The slots are rows times norms, so one matrix serves twice."""
        key = self.layers.dense(query, "memory.query_proj")  # (B, D)
        rows = self.layers.matrix("memory.rows")  # (S, D)
        cosines = mb.matmul(x=self.layers.narrow(unit(key)), y=rows, transpose_y=True)  # (B, S)
        weights = mb.mul(x=mb.softmax(x=cosines, axis=-1), y=self.layers.constant("memory.norms"))  # (B, S)
        return mb.matmul(x=weights, y=rows)

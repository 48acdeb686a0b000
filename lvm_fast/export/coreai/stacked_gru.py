"""Exports models that read normalised vectors with one stack of GRU layers and look at its last state."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ...models.memory_gru import MemoryGRU
from ...models.specialist_gru import SpecialistGRU
from .layers import Layers, unit
from .program import Model, ModelProgram, ProgramOptions, arrays
from .recurrent import GRULayers
from .states import State


class StackedGRUProgram(ModelProgram[Model]):
    """A model whose layers ``input_norm`` and ``gru`` come first; a model type is a subclass with `head`."""

    def __init__(self, model: Model, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._gru = GRULayers("gru", self.config["hidden_dim"], self.config["num_layers"])

    @abstractmethod
    def head(self, layers: Layers, final: Tensor) -> Tensor:
        """Return the raw delta (B, D) for the last layer's last state (B, H)."""

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        return self.head(layers, self._gru.last_state(layers, self._normed(layers, context)))

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`."""
        return {f"hidden_{layer}": State((1, width)) for layer, width in enumerate(self._gru.widths)}

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        moved = self._gru.step(layers, self._gru.gates(layers, self._normed(layers, vector)), *states)
        return self.head(layers, moved[-1]), moved

    def _normed(self, layers: Layers, vectors: Tensor) -> Tensor:
        return layers.layer_norm(layers.narrow(vectors), "input_norm")


class MemoryGRUProgram(StackedGRUProgram[MemoryGRU]):
    """memory_gru as a Core AI program."""

    def fold(self, model: MemoryGRU) -> dict[str, NDArray[np.float32]]:
        """Return the model's tensors under their own names, but for three foldings.

        ``gru.weight_ih_l0`` (3H, D) and ``gru.bias_ih_l0`` (3H,) have the constant first memory read folded in,
        ``memory.rows`` (S, D) and ``memory.norms`` (S,) are the slots as unit vectors and lengths, and the write gate,
        which only training uses, is left out.
        """
        unused = ("memory.memory", "memory.write_gate.")
        tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(unused)}
        wide = copy.deepcopy(model).double()  # so that all machines round to the same constants
        with torch.no_grad():
            tensors["gru.weight_ih_l0"], tensors["gru.bias_ih_l0"] = wide.folded_input()
            tensors["memory.rows"] = F.normalize(wide.memory.memory, dim=1)
            tensors["memory.norms"] = wide.memory.memory.norm(dim=1)
        return arrays(tensors)

    def head(self, layers: Layers, final: Tensor) -> Tensor:
        """Second memory read, fusion and projection. See `StackedGRUProgram.head`."""
        fused = torch.cat((final, self._read_memory(layers, final)), dim=-1)  # (B, H + D)
        fused = layers.layer_norm(F.gelu(layers.dense(fused, "fusion.0")), "fusion.3")  # (B, H)
        return layers.dense(F.gelu(layers.dense(fused, "output_proj.0")), "output_proj.3")

    def _read_memory(self, layers: Layers, query: Tensor) -> Tensor:
        """Attend by cosine: (B, H) -> (B, D). The slots are rows times norms, so one matrix serves twice."""
        key, rows = unit(layers.dense(query, "memory.query_proj")), layers["memory.rows"]  # (B, D), (S, D)
        weights = (layers.narrow(key) @ rows.T).softmax(dim=-1) * layers["memory.norms"]  # (B, S)
        return weights @ rows


class SpecialistGRUProgram(StackedGRUProgram[SpecialistGRU]):
    """specialist_gru as a Core AI program: only the experts that the gate chose are taken and multiplied."""

    # a rounded score may be another expert's
    uncompressed = frozenset({"gate.weight", "widen.bias", "narrow.bias"})

    def head(self, layers: Layers, final: Tensor) -> Tensor:
        """Weight what the chosen experts say by the softmax of their scores. See `StackedGRUProgram.head`."""
        best, experts = layers.dense(final, "gate").topk(self.config["top_k"], dim=-1)  # (B, k) each
        rows = final[:, None, None]  # (B, 1, 1, H)
        said = self._maps(layers, F.gelu(self._maps(layers, rows, "widen", experts)), "narrow", experts)
        return (best.softmax(dim=-1)[:, None] @ said.squeeze(2)).squeeze(1)  # (B, 1, k) (B, k, D)

    def _maps(self, layers: Layers, rows: Tensor, prefix: str, experts: Tensor) -> Tensor:
        """Apply each expert's own linear map: (B, 1 or k, 1, I) -> (B, k, 1, O)."""
        weight, bias = layers[f"{prefix}.weight"][experts], layers[f"{prefix}.bias"][experts]  # (B, k, O, I), (B, k, O)
        return rows @ weight.transpose(-1, -2) + bias[:, :, None]

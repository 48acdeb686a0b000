"""memory_gru as a Core ML program."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import normalize

from ..models.memory_gru import MemoryGRU
from .mil_layers import Arrays, Layers, Variable, cast, norm, unit
from .toolkit import Function, mb, types


class MemoryGRUProgram:
    """Builds the MIL functions of a memory_gru.

    Args:
        model: The trained model.
        precision: "float16" or "float32", what the functions compute in; inputs, outputs and the final reconstruction
            are float32 always.
        target: The coremltools deployment target.

    Raises:
        ValueError: A constant is too large for the precision.
    """

    def __init__(self, model: MemoryGRU, precision: str, target: Any) -> None:
        self.config = model.config
        self.arrays: Arrays = self.fold(model)
        self.layers = Layers(self.arrays, precision)
        self.target = target

    @staticmethod
    def fold(model: MemoryGRU) -> dict[str, NDArray[np.float32]]:
        """The constants of the program.

        They are the model's tensors under their own names, but for three foldings: ``gru.weight_ih_l0`` (3H, D) and
        ``gru.bias_ih_l0`` (3H,) have the constant first memory read folded in, ``memory.rows`` (S, D) and
        ``memory.norms`` (1, S) are the slots as unit vectors and lengths, and the write gate, which only training
        uses, is left out.
        """
        unused = ("memory.memory", "memory.write_gate.")
        tensors = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith(unused)}
        with torch.no_grad():
            tensors["gru.weight_ih_l0"], tensors["gru.bias_ih_l0"] = model.folded_input()
            tensors["memory.rows"] = normalize(model.memory.memory, dim=1)
            tensors["memory.norms"] = model.memory.memory.norm(dim=1)[None]
        return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}

    def predict(self, context_length: int) -> Function:
        """``context`` (1, N, D) -> ``next_vector`` (1, D), ``delta`` (1, D)."""
        dim = self.config["input_dim"]
        with self._function(context=mb.placeholder((1, context_length, dim), types.fp32)) as function:
            context = mb.squeeze(x=function.inputs["context"], axes=[0])  # (N, D)
            current = mb.slice_by_index(x=context, begin=[context_length - 1, 0], end=[context_length, dim])  # (1, D)
            final = self.layers.gru_loop(self._gates(context), self.config["num_layers"])  # (1, H)
            function.set_outputs(self._outputs(current, final))
        return function

    def step(self) -> Function:
        """``vector`` (1, D) -> ``next_vector`` (1, D), ``delta`` (1, D); states ``hidden_<layer>`` (1, H), float16."""
        width, num_layers = self.config["hidden_dim"], self.config["num_layers"]
        names = [f"hidden_{layer}" for layer in range(num_layers)]
        states = {name: mb.state_tensor_placeholder((1, width), types.fp16) for name in names}
        with self._function(vector=mb.placeholder((1, self.config["input_dim"]), types.fp32), **states) as function:
            vector = function.inputs["vector"]
            hidden = [self.layers.narrow(mb.read_state(input=function.inputs[name])) for name in names]
            hidden = self.layers.gru_step(self._gates(vector), hidden)
            for name, state in zip(names, hidden, strict=True):
                mb.coreml_update_state(state=function.inputs[name], value=cast(state, "float16"))
            function.set_outputs(self._outputs(vector, hidden[-1]))
        return function

    def _function(self, **inputs: Any) -> Function:
        mb.name_count.clear()  # numbered names start afresh in each function
        return Function(inputs, opset_version=self.target)

    def _gates(self, vectors: Variable) -> Variable:
        """Layer 0's input projection, for all vectors at once: (N, D) -> (N, 3H)."""
        normed = self.layers.layer_norm(self.layers.narrow(vectors), "input_norm")
        return self.layers.linear(normed, "gru.weight_ih_l0", "gru.bias_ih_l0")

    def _outputs(self, current: Variable, final: Variable) -> list[Variable]:
        """From the last vector (1, D) and the last hidden state (1, H) to ``next_vector`` and ``delta``."""
        fused = mb.concat(values=[final, self._read_memory(final)], axis=-1)  # (1, H + D)
        fused = mb.gelu(x=self.layers.linear(fused, "fusion.0.weight", "fusion.0.bias"), mode="EXACT")  # (1, H)
        fused = self.layers.layer_norm(fused, "fusion.3")
        raw = mb.gelu(x=self.layers.linear(fused, "output_proj.0.weight", "output_proj.0.bias"), mode="EXACT")
        raw = self.layers.linear(raw, "output_proj.3.weight", "output_proj.3.bias")  # (1, D)
        delta = unit(raw) if self.config["normalize_delta"] else cast(raw, "float32")
        moved = mb.add(x=current, y=delta)
        next_vector = mb.real_div(x=moved, y=mb.add(x=norm(moved), y=np.float32(1e-8)), name="next_vector")
        return [next_vector, mb.identity(x=delta, name="delta")]

    def _read_memory(self, query: Variable) -> Variable:
        """Softmax attention by cosine: (1, H) -> (1, D). The slots are rows times norms, so one matrix serves twice."""
        key = self.layers.linear(query, "memory.query_proj.weight", "memory.query_proj.bias")  # (1, D)
        rows = self.layers.constant("memory.rows")  # (S, D)
        cosines = mb.matmul(x=self.layers.narrow(unit(key)), y=rows, transpose_y=True)  # (1, S)
        weights = mb.mul(x=mb.softmax(x=cosines, axis=-1), y=self.layers.constant("memory.norms"))  # (1, S)
        return mb.matmul(x=weights, y=rows)

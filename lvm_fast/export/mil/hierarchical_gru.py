"""hierarchical_gru as a Core ML program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...models.hierarchical_gru import HierarchicalGRU
from ..coremltools_compat import is_symbolic, mb
from .layers import Variable, cast, gelu, last_row
from .program import Form, ModelProgram
from .recurrent import GRULayers, scan

_LARGEST_CHUNK = 2048  # float16 counts no further


class HierarchicalGRUProgram(ModelProgram[HierarchicalGRU]):
    """Builds the MIL functions of a hierarchical_gru.

    A context of known length goes through one loop within all chunks at once and one over their summaries: 20 steps
    for 100 vectors. A stream, and a context of any length, go vector by vector.
    """

    def __init__(self, model: HierarchicalGRU, form: Form) -> None:
        super().__init__(model, form)
        self._width, self._chunk = self.config["hidden_dim"], self.config["chunk_size"]
        sizes = self._width, self.config["num_layers"]
        self._local = GRULayers(self.layers, "local_encoder.gru", *sizes)
        self._global = GRULayers(self.layers, "global_encoder.gru", *sizes)

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        rows = self.layers.narrow(context)  # (B, N, D)
        answer = self._read_steps(rows) if is_symbolic(rows.shape[1]) else self._read_chunks(rows)
        return self._head(answer, last_row(rows))

    def _read_chunks(self, rows: Variable) -> Variable:
        """What the global encoder says of the summaries of all chunks, the last of which may be partial: (B, H)."""
        batch, steps, dim = rows.shape
        whole, summaries = steps // self._chunk, []
        if whole:
            chunks = mb.slice_by_index(x=rows, begin=[0, 0, 0], end=[batch, whole * self._chunk, dim])
            chunks = mb.reshape(x=chunks, shape=[batch * whole, self._chunk, dim])
            summaries.append(mb.reshape(x=self._local.last_state(chunks), shape=[batch, whole, self._width]))
        if steps % self._chunk:
            rest = mb.slice_by_index(x=rows, begin=[0, whole * self._chunk, 0], end=[batch, steps, dim])
            summaries.append(mb.expand_dims(x=self._local.last_state(rest), axes=[1]))  # (B, 1, H)
        joined = mb.concat(values=summaries, axis=1) if len(summaries) > 1 else summaries[0]  # (B, C, H)
        normed = self.layers.layer_norm(joined, "local_encoder.norm")
        return self.layers.layer_norm(self._global.last_state(normed), "global_encoder.norm")

    def _read_steps(self, rows: Variable) -> Variable:
        """The same vector by vector, (B, H)."""
        widths = [*self._local.widths, *self._global.widths, 1, self._width]
        return scan(self._local.gates(rows), widths, lambda row, *states: self._step(row, states[:-1]))[-1]

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        layers = range(self.config["num_layers"])
        names = [*(f"local_{layer}" for layer in layers), *(f"before_{layer}" for layer in layers)]
        return {**dict.fromkeys(names, (1, self._width)), "read": (1, 1)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        row = self.layers.narrow(vector)
        *moved, answer = self._step(self._local.gates(row), states)
        return self._head(answer, row), moved

    def _step(self, gates: Variable, states: Sequence[Variable]) -> list[Variable]:
        """One vector more.

        Args:
            gates: What the local GRU's first layer makes of it.
            states: Of the chunk so far, and of the chunks before it, (B, H) a layer each; its vectors read, (B, 1).

        Returns:
            The states after it, and what the global encoder says of the chunks so far, (B, H).
        """
        if self._chunk > _LARGEST_CHUNK:
            expected = f"at most {_LARGEST_CHUNK:,} for a stream or contexts of any length"
            raise ValueError(f"export_coreml: chunk_size = {self._chunk}; expected {expected}")
        one = np.dtype(self.layers.precision).type(1)
        count = len(self._local.widths)
        local, before, read = states[:count], states[count:-1], mb.add(x=states[-1], y=one)
        local = self._local.step(gates, *local)
        after = self._global.step(self._global.gates(self.layers.layer_norm(local[-1], "local_encoder.norm")), *before)
        full = cast(mb.greater_equal(x=read, y=one * self._chunk), self.layers.precision)  # (B, 1): 1 at a chunk's end
        open_ = mb.sub(x=one, y=full)
        return [
            *(mb.mul(x=state, y=open_) for state in local),
            *(
                mb.add(x=mb.mul(x=old, y=open_), y=mb.mul(x=new, y=full))
                for old, new in zip(before, after, strict=True)
            ),
            mb.mul(x=read, y=open_),
            self.layers.layer_norm(after[-1], "global_encoder.norm"),
        ]

    def _head(self, answer: Variable, current: Variable) -> Variable:
        """The global encoder's answer (B, H) and the last vector (B, D) -> raw delta (B, D)."""
        layers = self.layers
        raw = layers.dense(gelu(layers.dense(answer, "output_proj.0")), "output_proj.3")
        return mb.add(x=raw, y=layers.dense(current, "residual_proj"))

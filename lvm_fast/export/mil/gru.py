"""gru as a Core ML program."""

from __future__ import annotations

from collections.abc import Sequence

from ...models.gru import GRUModel
from ..coremltools_compat import mb
from .layers import Variable
from .program import Form, ModelProgram
from .recurrent import GRULayers, scan


class GRUProgram(ModelProgram[GRUModel]):
    """Builds the MIL functions of a gru: all blocks go through the steps together, in one loop."""

    def __init__(self, model: GRUModel, form: Form) -> None:
        super().__init__(model, form)
        self._width, blocks = self.config["hidden_dim"], range(self.config["num_layers"])
        self._blocks = [GRULayers(self.layers, f"blocks.{block}.gru", self._width, 1) for block in blocks]

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        rows = self.layers.dense(self.layers.narrow(context), "input_proj")  # (B, N, H)
        widths = [self._width] * (len(self._blocks) + 1)  # the blocks' states, and what comes out of the last
        final = scan(rows, widths, lambda row, *states: self._step(row, states[:-1]))[-1]
        return self.layers.dense(final, "output_proj")

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        return {f"hidden_{block}": (1, self._width) for block in range(len(self._blocks))}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        *moved, final = self._step(self.layers.dense(self.layers.narrow(vector), "input_proj"), states)
        return self.layers.dense(final, "output_proj"), moved

    def _step(self, x: Variable, states: Sequence[Variable]) -> list[Variable]:
        """The next state of each block, and what the last one makes of x: LayerNorm(x + GRU(x)) each, (B, H)."""
        moved = []
        for index, (block, state) in enumerate(zip(self._blocks, states, strict=True)):
            moved += block.step(block.gates(x), state)
            x = self.layers.layer_norm(mb.add(x=x, y=moved[-1]), f"blocks.{index}.norm")
        return [*moved, x]

"""Exports gru and lstm."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ...models.gru import GRUModel
from ...models.lstm import LSTMModel
from .layers import Layers
from .program import ModelProgram, ProgramOptions
from .recurrent import GRULayers, LSTMLayers, scan
from .states import State


class GRUProgram(ModelProgram[GRUModel]):
    """gru as a Core AI program: all blocks go through the steps together, in one loop."""

    def __init__(self, model: GRUModel, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._width, blocks = self.config["hidden_dim"], range(self.config["num_layers"])
        self._blocks = [GRULayers(f"blocks.{block}.gru", self._width, 1) for block in blocks]

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        rows = layers.dense(layers.narrow(context), "input_proj")  # (B, N, H)
        widths = [self._width] * (len(self._blocks) + 1)  # the blocks' states, and what comes out of the last
        final = scan(layers.under("blocks."), rows, widths, self._step_of_loop)[-1]
        return layers.dense(final, "output_proj")

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`."""
        return {f"hidden_{block}": State((1, self._width)) for block in range(len(self._blocks))}

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        *moved, final = self._step(layers, layers.dense(layers.narrow(vector), "input_proj"), states)
        return layers.dense(final, "output_proj"), moved

    def _step_of_loop(self, layers: Layers, row: Tensor, *states: Tensor) -> list[Tensor]:
        return self._step(layers, row, states[:-1])

    def _step(self, layers: Layers, x: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """Return the next state of each block, and what the last one makes of x: LayerNorm(x + GRU(x)) each, (B, H)."""
        moved: list[Tensor] = []
        for index, (block, state) in enumerate(zip(self._blocks, states, strict=True)):
            moved += block.step(layers, block.gates(layers, x), state)
            x = layers.layer_norm(x + moved[-1], f"blocks.{index}.norm")
        return [*moved, x]


class LSTMProgram(ModelProgram[LSTMModel]):
    """lstm as a Core AI program."""

    def __init__(self, model: LSTMModel, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._lstm = LSTMLayers("lstm", self.config["hidden_dim"], self.config["num_layers"])

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        return layers.dense(self._lstm.last_state(layers, layers.narrow(context)), "output_proj")

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`."""
        names = [f"{kind}_{layer}" for layer in range(self.config["num_layers"]) for kind in ("hidden", "cell")]
        return {name: State((1, width)) for name, width in zip(names, self._lstm.widths, strict=True)}

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        moved = self._lstm.step(layers, self._lstm.gates(layers, layers.narrow(vector)), *states)
        return layers.dense(moved[-2], "output_proj"), moved

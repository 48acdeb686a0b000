"""Builds the part shared by models that read normalised vectors with one stack of GRU layers."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from .layers import Variable
from .program import Model, ModelProgram, ProgramOptions
from .recurrent import GRULayers


class StackedGRUProgram(ModelProgram[Model]):
    """Builds the MIL functions of a model whose layers ``input_norm`` and ``gru`` come before all others.

    A model type is a subclass with `head`.
    """

    def __init__(self, model: Model, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._gru = GRULayers(self.layers, "gru", self.config["hidden_dim"], self.config["num_layers"])

    @abstractmethod
    def head(self, final: Variable) -> Variable:
        """Compute the raw delta (B, D) from the last layer's last state (B, H)."""

    def raw_delta(self, context: Variable) -> Variable:
        """See `ModelProgram.raw_delta`."""
        return self.head(self._gru.last_state(self._normed(context)))

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        return {f"hidden_{layer}": (1, width) for layer, width in enumerate(self._gru.widths)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        moved = self._gru.step(self._gru.gates(self._normed(vector)), *states)
        return self.head(moved[-1]), moved

    def _normed(self, vectors: Variable) -> Variable:
        return self.layers.layer_norm(self.layers.to_precision(vectors), "input_norm")

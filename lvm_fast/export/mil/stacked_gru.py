"""What models have in common that read normalised vectors with one stack of GRU layers and look at its last state."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from .layers import Variable
from .program import Form, Model, ModelProgram
from .recurrent import GRULayers


class StackedGRUProgram(ModelProgram[Model]):
    """Builds the MIL functions of a model whose layers ``input_norm`` and ``gru`` come before all others.

    A model type is a subclass with `head`.
    """

    def __init__(self, model: Model, form: Form) -> None:
        super().__init__(model, form)
        self._gru = GRULayers(self.layers, "gru", self.config["hidden_dim"], self.config["num_layers"])

    @abstractmethod
    def head(self, final: Variable) -> Variable:
        """From the last layer's last state (B, H) to the raw delta (B, D)."""

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        return self.head(self._gru.last_state(self._normed(context)))

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        return {f"hidden_{layer}": (1, width) for layer, width in enumerate(self._gru.widths)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        moved = self._gru.step(self._gru.gates(self._normed(vector)), *states)
        return self.head(moved[-1]), moved

    def _normed(self, vectors: Variable) -> Variable:
        return self.layers.layer_norm(self.layers.narrow(vectors), "input_norm")

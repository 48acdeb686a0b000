"""lstm as a Core ML program."""

from __future__ import annotations

from collections.abc import Sequence

from ...models.lstm import LSTMModel
from .layers import Variable
from .program import Form, ModelProgram
from .recurrent import LSTMLayers


class LSTMProgram(ModelProgram[LSTMModel]):
    """Builds the MIL functions of an lstm."""

    def __init__(self, model: LSTMModel, form: Form) -> None:
        super().__init__(model, form)
        self._lstm = LSTMLayers(self.layers, "lstm", self.config["hidden_dim"], self.config["num_layers"])

    def read(self, context: Variable) -> Variable:
        """See `ModelProgram.read`."""
        return self.layers.dense(self._lstm.last_state(self.layers.narrow(context)), "output_proj")

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """See `ModelProgram.state_shapes`."""
        names = [f"{kind}_{layer}" for layer in range(self.config["num_layers"]) for kind in ("hidden", "cell")]
        return {name: (1, width) for name, width in zip(names, self._lstm.widths, strict=True)}

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """See `ModelProgram.push`."""
        moved = self._lstm.step(self._lstm.gates(self.layers.narrow(vector)), *states)
        return self.layers.dense(moved[-2], "output_proj"), moved

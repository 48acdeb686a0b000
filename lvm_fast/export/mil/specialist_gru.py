"""specialist_gru as a Core ML program."""

from __future__ import annotations

from ...models.specialist_gru import SpecialistGRU
from ..coremltools_compat import mb
from .layers import Variable, gelu
from .stacked_gru import StackedGRUProgram


class SpecialistGRUProgram(StackedGRUProgram[SpecialistGRU]):
    """Builds the MIL functions of a specialist_gru: only the experts that the gate chose are taken and multiplied."""

    def head(self, final: Variable) -> Variable:
        """What the chosen experts say, weighted by the softmax of their scores. See `StackedGRUProgram.head`."""
        layers = self.layers
        # never compressed: a rounded score may be another expert's
        scores = mb.linear(x=final, weight=layers.constant("gate.weight"), bias=layers.constant("gate.bias"))
        best, experts = mb.topk(x=scores, k=self.config["top_k"], axis=-1)  # (B, k) each
        rows = mb.expand_dims(x=final, axes=[1, 2])  # (B, 1, 1, H)
        said = self._maps(gelu(self._maps(rows, "widen", experts)), "narrow", experts)  # (B, k, 1, D)
        shares = mb.expand_dims(x=mb.softmax(x=best, axis=-1), axes=[1])  # (B, 1, k)
        return mb.squeeze(x=mb.matmul(x=shares, y=mb.squeeze(x=said, axes=[2])), axes=[1])

    def _maps(self, rows: Variable, prefix: str, experts: Variable) -> Variable:
        """Each expert's own linear map: (B, 1 or k, 1, I) -> (B, k, 1, O)."""
        weight = mb.gather(x=self.layers.matrix(f"{prefix}.weight"), indices=experts, axis=0)  # (B, k, O, I)
        bias = mb.gather(x=self.layers.constant(f"{prefix}.bias"), indices=experts, axis=0)  # (B, k, O)
        return mb.add(x=mb.matmul(x=rows, y=weight, transpose_y=True), y=mb.expand_dims(x=bias, axes=[2]))

"""Exports hierarchical_gru."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...models.hierarchical_gru import HierarchicalGRU
from ..state_layout import GROUP
from .layers import Layers
from .program import ModelProgram, ProgramOptions
from .recurrent import GRULayers, scan
from .states import COUNT, State

_ENCODERS = ("local_encoder.", "global_encoder.")


class HierarchicalGRUProgram(ModelProgram[HierarchicalGRU]):
    """hierarchical_gru as a Core AI program.

    A context of known length goes through one loop within all chunks at once and one over their summaries: 20 steps
    for 100 vectors. A stream, and a context of any length, go vector by vector.
    """

    def __init__(self, model: HierarchicalGRU, options: ProgramOptions) -> None:
        super().__init__(model, options)
        self._width, self._chunk = self.config["hidden_dim"], self.config["chunk_size"]
        sizes = self._width, self.config["num_layers"]
        self._local, self._global = (GRULayers(f"{encoder}gru", *sizes) for encoder in _ENCODERS)

    def read(self, layers: Layers, context: Tensor) -> Tensor:
        """See `ModelProgram.read`."""
        rows = layers.narrow(context)  # (B, N, D)
        is_known = isinstance(rows.shape[1], int)
        answer = self._read_chunks(layers, rows) if is_known else self._read_steps(layers, rows)
        return self._head(layers, answer, rows[:, -1])

    def _read_chunks(self, layers: Layers, rows: Tensor) -> Tensor:
        """Return what the global encoder says of the summaries of all chunks, the last of which may be partial."""
        batch, steps, dim = rows.shape
        whole, summaries = steps // self._chunk, []
        if whole:
            chunks = rows[:, : whole * self._chunk].reshape(batch * whole, self._chunk, dim)
            summaries.append(self._local.last_state(layers, chunks).view(batch, whole, self._width))
        if steps % self._chunk:
            rest = rows[:, whole * self._chunk :]
            summaries.append(self._local.last_state(layers, rest)[:, None])  # (B, 1, H)
        normed = layers.layer_norm(torch.cat(summaries, dim=1), "local_encoder.norm")  # (B, C, H)
        return layers.layer_norm(self._global.last_state(layers, normed), "global_encoder.norm")

    def _read_steps(self, layers: Layers, rows: Tensor) -> Tensor:
        """Return the same, vector by vector, (B, H)."""
        gates = self._local.gates(layers, rows)  # (B, N, 3H)
        is_full = torch.arange(1, rows.shape[1] + 1) % torch.tensor(self._chunk) == 0  # (N,): a chunk ends here
        marks = layers.narrow(is_full)[None, :, None].expand(rows.shape[0], -1, GROUP)
        widths = [*self._local.widths, *self._global.widths, self._width]  # the last one is the answer
        return scan(layers.under(*_ENCODERS), torch.cat((gates, marks), dim=2), widths, self._step_of_loop)[-1]

    def states(self) -> dict[str, State]:
        """See `ModelProgram.states`; ``read`` counts the vectors of the chunk so far."""
        numbers = range(self.config["num_layers"])
        names = [*(f"local_{layer}" for layer in numbers), *(f"before_{layer}" for layer in numbers)]
        return {**{name: State((1, self._width)) for name in names}, "read": COUNT}

    def push(self, layers: Layers, vector: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """See `ModelProgram.push`."""
        row, read = layers.narrow(vector), states[-1] + 1  # (1, 32)
        is_full = read >= self._chunk
        *moved, answer = self._step(layers, self._local.gates(layers, row), is_full[:, :1], states[:-1])
        return self._head(layers, answer, row), [*moved, torch.where(is_full, torch.zeros_like(read), read)]

    def _step_of_loop(self, layers: Layers, row: Tensor, *states: Tensor) -> list[Tensor]:
        return self._step(layers, row[:, :-GROUP], row[:, -1:] > 0, states[:-1])

    def _step(self, layers: Layers, gates: Tensor, is_full: Tensor, states: Sequence[Tensor]) -> list[Tensor]:
        """Take one vector more.

        Args:
            layers: Of both encoders.
            gates: What the local GRU's first layer makes of it.
            is_full: Whether a chunk ends with it, (B, 1).
            states: Of the chunk so far, and of the chunks before it, (B, H) a layer each.

        Returns:
            The states after it, and what the global encoder says of the chunks so far, (B, H).
        """
        count = len(self._local.widths)
        local, before = self._local.step(layers, gates, *states[:count]), states[count:]
        summary = layers.layer_norm(local[-1], "local_encoder.norm")
        after = self._global.step(layers, self._global.gates(layers, summary), *before)
        return [
            *(torch.where(is_full, torch.zeros_like(state), state) for state in local),
            *(torch.where(is_full, new, old) for old, new in zip(before, after, strict=True)),
            layers.layer_norm(after[-1], "global_encoder.norm"),
        ]

    def _head(self, layers: Layers, answer: Tensor, current: Tensor) -> Tensor:
        """Return the raw delta (B, D) for the global encoder's answer (B, H) and the last vector (B, D)."""
        raw = layers.dense(F.gelu(layers.dense(answer, "output_proj.0")), "output_proj.3")
        return raw + layers.dense(current, "residual_proj")

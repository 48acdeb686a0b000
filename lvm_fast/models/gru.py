"""gru: blocks of a GRU with a way around it, and a projection of the last state."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..layers.gru import GRU
from ..ops.packed_model import PackedModel
from .answering import zeros_for
from .causal import CausalModel
from .checks import check_sizes, numbered, tensor_of
from .packing import layers_of, norm_of, pair_of, tensors_of
from .recurrence import states_of


class GRUBlock(nn.Module):
    """LayerNorm(x + GRU(x)), of one width H."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: Tensor, lengths: Tensor | None) -> Tensor:
        """(B, N, H), lengths (B,) or None for N -> (B, N, H)."""
        normed: Tensor = self.norm(inputs + states_of(self.gru, inputs, lengths))
        return normed

    def advance(self, state: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step: the GRU's state (1, B, H), inputs (B, H) -> outputs (B, H), the next state (1, B, H)."""
        states, moved = self.gru(inputs[:, None], state)
        return self.norm(inputs + states[:, 0]), moved


class GRUModel(CausalModel):
    """The reference's gru, tensor for tensor.

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of the blocks.
        num_layers: Blocks.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "gru"
    stepped_by_hand = (GRUBlock,)
    packs: ClassVar[bool] = True

    def __init__(
        self, input_dim: int = 768, hidden_dim: int = 512, num_layers: int = 4, normalize_delta: bool = True
    ) -> None:
        sizes = check_sizes(self.model_type, input_dim=input_dim, hidden_dim=hidden_dim, num_layers=num_layers)
        input_dim, hidden_dim, num_layers = sizes.values()
        super().__init__(sizes, normalize_delta)
        self.input_proj = nn.Linear(input_dim, hidden_dim)
        self.blocks = nn.ModuleList(GRUBlock(hidden_dim) for _ in range(num_layers))
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        states: Tensor = self.input_proj(context)  # (B, N, H)
        for block in self.blocks:
            states = block(states, lengths)
        return states

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        raw: Tensor = self.output_proj(hidden)
        return raw

    def start_steps(self, batch_size: int) -> Tensor:
        """Return the state of every block's GRU, (L, B, H)."""
        return zeros_for(self, len(self.blocks), batch_size, self.config["hidden_dim"])

    def next_hidden(self, state: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        """See `CausalModel.next_hidden`."""
        hidden, moved = self.input_proj(vector), []
        for block, own in zip(self.blocks, state, strict=True):
            assert isinstance(block, GRUBlock)
            hidden, after = block.advance(own[None], hidden)
            moved.append(after)
        return hidden, torch.cat(moved)

    def packed_from(self) -> tuple[Hashable, list[Tensor]]:
        """See `LatentVectorModel.packed_from`."""
        norms, layers = self._norms(), self._layers()
        settings = (self.normalize_delta, *(norm.eps for norm in norms))
        return settings, tensors_of([self.input_proj, *norms, *layers, self.output_proj])

    def packed(self, precision: str) -> PackedModel:
        """Pack the weights for the core. See `LatentVectorModel.packed`."""
        return PackedModel(
            precision,
            cell="gru",
            input=self.input_dim,
            layers=[weights for gru in self._layers() for weights in layers_of(gru)],
            entry=pair_of(self.input_proj),
            block_norms=[norm_of(norm) for norm in self._norms()],
            output=pair_of(self.output_proj),
            unit_delta=self.normalize_delta,
        )

    def _layers(self) -> list[GRU]:
        return [block.get_submodule("gru") for block in self.blocks]  # type: ignore[misc]

    def _norms(self) -> list[nn.LayerNorm]:
        return [block.get_submodule("norm") for block in self.blocks]  # type: ignore[misc]

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """See `LatentVectorModel.config_from_state`."""
        hidden_dim, input_dim = tensor_of(cls.model_type, state, "input_proj.weight", 2).shape
        return {"input_dim": input_dim, "hidden_dim": hidden_dim, "num_layers": numbered(state, r"blocks\.(\d+)\.")}

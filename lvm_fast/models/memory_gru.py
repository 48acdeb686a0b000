"""memory_gru: a GRU that reads a memory of vectors before and after the context."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers.gru import GRU
from ..ops.packed_model import PackedModel
from .causal import CausalModel
from .checks import check_fraction, check_sizes, recurrent_sizes, tensor_of
from .packing import array_of, norm_of, pair_of, tensors_of
from .recurrence import between_layers, last_state_of, runs_as_built, states_of, widening_head

_KEPT = 0.9  # part of the memory that survives a write


class SlotMemory(nn.Module):
    """Slots of vectors: read by cosine attention, written by a gate, outside autograd.

    Args:
        slots: Number of slots S.
        slot_dim: Width D of a slot.
        query_dim: Width H of the query.
    """

    memory: Tensor
    gate_sum: Tensor
    value_sum: Tensor
    contexts: Tensor

    def __init__(self, slots: int, slot_dim: int, query_dim: int) -> None:
        super().__init__()
        self.register_buffer("memory", 0.01 * torch.randn(slots, slot_dim))
        self.query_proj = nn.Linear(query_dim, slot_dim)
        self.write_gate = nn.Linear(query_dim, slots)
        # the writes not yet applied: sums over the contexts they came from
        self.register_buffer("gate_sum", torch.zeros(slots), persistent=False)
        self.register_buffer("value_sum", torch.zeros(slot_dim), persistent=False)
        self.register_buffer("contexts", torch.zeros(()), persistent=False)

    def read(self, query: Tensor) -> Tensor:
        """Content for each query: (..., H) -> (..., D)."""
        return self._attend(self.query_proj(query))

    def read_at_zero(self) -> Tensor:
        """Content for the zero query, whose projection is the bias alone: (D,)."""
        return self._attend(self.query_proj.bias.unsqueeze(0)).squeeze(0)

    def _attend(self, key: Tensor) -> Tensor:
        cosines = F.normalize(key, dim=-1) @ F.normalize(self.memory, dim=1).T  # (..., S)
        return cosines.softmax(dim=-1) @ self.memory  # (..., D)

    @torch.no_grad()
    def collect(self, query: Tensor, value: Tensor) -> None:
        """Note one write of each context: where (B, H), what (B, D)."""
        self.gate_sum += self.write_gate(query).float().softmax(dim=1).sum(dim=0)
        self.value_sum += value.float().sum(dim=0)
        self.contexts += query.shape[0]

    @torch.no_grad()
    def commit(self) -> None:
        """memory <- 0.9 memory + 0.1 outer(mean gate, mean value) over the noted contexts."""
        update = torch.outer(self.gate_sum / self.contexts, self.value_sum / self.contexts)  # (S, D)
        # a new tensor: autograd may still hold the old one for a backward pass to come
        self.memory = _KEPT * self.memory + (1.0 - _KEPT) * update
        self.discard()

    @torch.no_grad()
    def discard(self) -> None:
        """Forget the writes not yet applied."""
        for waiting in (self.gate_sum, self.value_sum, self.contexts):
            waiting.zero_()


class MemoryState(NamedTuple):
    """The state of a stream: the first memory read, (B, D), and the states of every layer, (L, B, H)."""

    content: Tensor
    states: Tensor


class MemoryGRU(CausalModel):
    """LayerNorm -> 4-layer GRU beside one memory read -> second memory read -> fusion -> projection -> unit delta.

    Each forward pass in training mode also writes into the memory, once its outputs are computed; within
    `deferred_memory_writes` it only collects, and `commit_memory` writes once for all of them. A context writes what
    its last position says, also where every position is predicted (`deltas`).

    Args:
        input_dim: Width D of the vectors.
        hidden_dim: Width H of the hidden states.
        num_layers: GRU layers.
        memory_slots: Slots S of the memory.
        dropout: Dropout between GRU layers and in the heads.
        normalize_delta: Return ``raw / ||raw||`` (the reference's habit); False returns ``raw``.
    """

    model_type: ClassVar[str] = "memory_gru"
    packs: ClassVar[bool] = True

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        memory_slots: int = 2048,
        dropout: float = 0.1,
        normalize_delta: bool = True,
    ) -> None:
        sizes = check_sizes(
            self.model_type,
            input_dim=input_dim,
            hidden_dim=hidden_dim,
            num_layers=num_layers,
            memory_slots=memory_slots,
        )
        input_dim, hidden_dim, num_layers, memory_slots = sizes.values()
        dropout = check_fraction(self.model_type, "dropout", dropout)
        super().__init__(sizes, normalize_delta, dropout=dropout)
        between = between_layers(dropout, num_layers)
        self.gru = GRU(2 * input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)
        self.memory = SlotMemory(memory_slots, input_dim, hidden_dim)
        self.input_norm = nn.LayerNorm(input_dim)
        self.fusion = nn.Sequential(
            nn.Linear(hidden_dim + input_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(hidden_dim)
        )
        self.output_proj = widening_head(hidden_dim, input_dim, dropout)
        self._defers_writes = False

    def hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.hidden`."""
        if runs_as_built(self.gru):
            return self.gru.states(self.input_norm(context), self.memory.read_at_zero(), lengths)
        return states_of(self.gru, self._inputs(context), lengths)

    def last_hidden(self, context: Tensor, lengths: Tensor | None) -> Tensor:
        """See `CausalModel.last_hidden`."""
        if runs_as_built(self.gru):
            return self.gru.last_state(self.input_norm(context), self.memory.read_at_zero(), lengths)
        return last_state_of(self.gru, self._inputs(context), lengths)

    def _inputs(self, context: Tensor) -> Tensor:
        """Make the inputs of a GRU that knows of no constant: (B, N, D) -> (B, N, 2D)."""
        normed = self.input_norm(context)
        return torch.cat((normed, self.memory.read_at_zero().expand_as(normed)), dim=-1)

    def start_steps(self, batch_size: int) -> MemoryState:
        """Return the first memory read, and states of zeros."""
        content = self.memory.read_at_zero()  # (D,)
        states = content.new_zeros(self.config["num_layers"], batch_size, self.config["hidden_dim"])
        return MemoryState(content.expand(batch_size, -1), states)

    def next_hidden(self, state: MemoryState, vector: Tensor) -> tuple[Tensor, MemoryState]:
        """See `CausalModel.next_hidden`."""
        inputs = torch.cat((self.input_norm(vector), state.content), dim=1)  # (B, 2D)
        states, moved = self.gru(inputs[:, None], state.states)
        return states[:, 0], MemoryState(state.content, moved)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """Second memory read, fusion and projection: hidden states (..., H) -> raw deltas (..., D)."""
        fused = self.fusion(torch.cat((hidden, self.memory.read(hidden)), dim=-1))  # (..., H)
        raw: Tensor = self.output_proj(fused)
        return raw

    def write_memory(self, final: Tensor, raw: Tensor) -> None:
        """Write what each context's last position (B, H) says, (B, D), or note it for later."""
        self.memory.collect(final.detach(), raw.detach())
        if not self._defers_writes:
            self.memory.commit()

    def folded_input(self) -> tuple[Tensor, Tensor]:
        """Layer 0's input weight (3H, D) and bias (3H,) with the memory's columns folded into the bias.

        The first read is the same for every step of every context: its part of the product is one constant vector.
        """
        content = self.memory.read_at_zero()  # (D,)
        weight, _, bias, _ = self.gru.layer_weights()[0]
        return weight[:, : self.input_dim], F.linear(content, weight[:, self.input_dim :], bias)

    def packed_from(self) -> tuple[Hashable, list[Tensor]]:
        """See `LatentVectorModel.packed_from`."""
        modules = (
            self.gru,
            self.input_norm,
            self.memory.query_proj,
            self.fusion[0],
            self.fusion[3],
            self.output_proj[0],
            self.output_proj[3],
        )
        settings = (self.normalize_delta, self.input_norm.eps, self.fusion[3].eps)
        return settings, [self.memory.memory, *tensors_of(modules)]

    def packed(self, precision: str) -> PackedModel:
        """Pack the weights for the core. See `LatentVectorModel.packed`.

        All that does not depend on the input is folded in float64: the first memory read, and both products of the
        second. The cosine of the query ``k = W h + b`` with a slot m is ``(m^ W) h + m^ b`` over ``||k||`` for the unit
        slot m^, and the fusion's part of the content ``sum p_s m_s`` is ``sum p_s (F m_s)``. Of the p_s, their mean is
        known.
        """
        with torch.no_grad():
            slots, query = self.memory.memory.double(), self.memory.query_proj  # (S, D)
            fusion: Any = self.fusion[0]
            query_weight, query_bias = query.weight.double(), query.bias.double()  # (D, H), (D,)
            from_state, from_content = fusion.weight.double().split([query.in_features, query.out_features], dim=1)
            unit_slots = F.normalize(slots, dim=1)
            keys = torch.cat((unit_slots @ query_weight, query_weight, from_state))  # (S + D + H, H)
            keys_bias = torch.cat((unit_slots @ query_bias, query_bias, fusion.bias.double()))
            contents = from_content @ slots.T  # (H, S)
            return PackedModel(
                precision,
                cell="gru",
                input=self.input_dim,
                layers=[[array_of(tensor) for tensor in layer] for layer in self._packed_layers()],
                input_norm=norm_of(self.input_norm),
                memory={
                    "keys": (array_of(keys), array_of(keys_bias)),
                    "contents": (array_of(contents), array_of(contents.mean(dim=1))),
                    "fusion_norm": norm_of(self.fusion[3]),
                    "widen": pair_of(self.output_proj[0]),
                    "narrow": pair_of(self.output_proj[3]),
                },
                unit_delta=self.normalize_delta,
            )

    def _packed_layers(self) -> list[list[Tensor]]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        layers: list[list[Tensor]] = [
            [self.gru.get_parameter(f"{name}_l{i}") for name in names] for i in range(self.gru.num_layers)
        ]
        layers[0][0], layers[0][2] = self.folded_input()
        return layers

    @contextmanager
    def deferred_memory_writes(self) -> Iterator[None]:
        """Within the block, forward passes only collect memory writes; `commit_memory` applies them as one."""
        self.memory.discard()  # left over from a step that never committed
        self._defers_writes = True
        try:
            yield
        finally:
            self._defers_writes = False

    def commit_memory(self) -> None:
        """Apply the collected memory writes, averaged over every context they came from; nothing if there are none."""
        if self.memory.contexts > 0:
            self.memory.commit()

    def waiting_writes(self) -> list[Tensor]:
        """See `LatentVectorModel.waiting_writes`."""
        return [self.memory.gate_sum, self.memory.value_sum, self.memory.contexts]

    @classmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes from the shapes of a state dict's tensors. Raises ValueError naming a tensor it lacks."""
        slots, input_dim = tensor_of(cls.model_type, state, "memory.memory", 2).shape
        return {**recurrent_sizes(cls.model_type, state, "gru"), "input_dim": input_dim, "memory_slots": slots}

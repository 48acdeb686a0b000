"""Every architecture written down with stock torch modules, nothing folded, fused or cached.

Names of modules are those of the reference's checkpoints; sizes default to the reference's. One delta a context.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# small sizes for quick tests; heads and chunks, which no tensor shows, are the usual ones
SMALL: dict[str, dict[str, int]] = {
    "memory_gru": {"input_dim": 16, "hidden_dim": 12, "num_layers": 4, "memory_slots": 8},
    "lstm": {"input_dim": 16, "hidden_dim": 12, "num_layers": 2},
    "gru": {"input_dim": 16, "hidden_dim": 12, "num_layers": 3},
    "transformer": {
        "input_dim": 16,
        "hidden_dim": 24,
        "num_layers": 2,
        "num_heads": 8,
        "feedforward_dim": 20,
        "max_positions": 40,
    },
    "amn": {"input_dim": 16, "attention_dim": 6, "hidden_dim": 12, "bottleneck_dim": 10},
    "hierarchical_gru": {"input_dim": 16, "hidden_dim": 12, "num_layers": 2},
    "recency_mixer": {"input_dim": 16, "hidden_dim": 12},
    "recency_residual": {"input_dim": 16, "hidden_dim": 12, "key_dim": 5},
    "specialist_gru": {"input_dim": 16, "hidden_dim": 12, "num_layers": 2, "num_experts": 5, "expert_dim": 7},
}


class LiteralMemory(nn.Module):
    memory: Tensor

    def __init__(self, slots: int, dim: int, hidden: int) -> None:
        super().__init__()
        self.register_buffer("memory", torch.randn(slots, dim) * 0.01)
        self.query_proj = nn.Linear(hidden, dim)
        self.write_gate = nn.Linear(hidden, slots)

    def read(self, query: Tensor) -> Tensor:
        cosines = F.cosine_similarity(self.query_proj(query).unsqueeze(1), self.memory.unsqueeze(0), dim=2)
        return torch.softmax(cosines, dim=1) @ self.memory


class LiteralMemoryGRU(nn.Module):
    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        memory_slots: int = 2048,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.hidden_dim = hidden_dim
        self.input_norm = nn.LayerNorm(input_dim)
        self.memory = LiteralMemory(memory_slots, input_dim, hidden_dim)
        self.gru = nn.GRU(2 * input_dim, hidden_dim, num_layers, batch_first=True, dropout=dropout)
        self.fusion = nn.Sequential(
            nn.Linear(hidden_dim + input_dim, hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.LayerNorm(hidden_dim)
        )
        self.output_proj = nn.Sequential(
            nn.Linear(hidden_dim, 2 * hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden_dim, input_dim)
        )

    def forward(self, context: Tensor) -> Tensor:
        batch, steps, _ = context.shape
        normed = self.input_norm(context)
        content = self.memory.read(torch.zeros(batch, self.hidden_dim, dtype=context.dtype))
        wide = torch.cat((normed, content.unsqueeze(1).expand(-1, steps, -1)), dim=2)
        _, hidden = self.gru(wide)
        final = hidden[-1]
        raw = self.output_proj(self.fusion(torch.cat((final, self.memory.read(final)), dim=1)))
        if self.training:
            gate = torch.softmax(self.memory.write_gate(final), dim=1).mean(dim=0)
            written = 0.9 * self.memory.memory + 0.1 * torch.outer(gate, raw.mean(dim=0))
            self.memory.memory = written.detach()
        return F.normalize(raw, dim=1)


class LiteralLSTM(nn.Module):
    def __init__(self, input_dim: int = 768, hidden_dim: int = 512, num_layers: int = 2, dropout: float = 0.2) -> None:
        super().__init__()
        self.lstm = nn.LSTM(input_dim, hidden_dim, num_layers, batch_first=True, dropout=dropout)
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    def forward(self, context: Tensor) -> Tensor:
        states, _ = self.lstm(context)
        return F.normalize(self.output_proj(states[:, -1]), dim=1)


class LiteralBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs: Tensor) -> Tensor:
        normed: Tensor = self.norm(inputs + self.gru(inputs)[0])
        return normed


class LiteralGRU(nn.Module):
    def __init__(self, input_dim: int = 768, hidden_dim: int = 512, num_layers: int = 4) -> None:
        super().__init__()
        self.input_proj = nn.Linear(input_dim, hidden_dim)
        self.blocks = nn.ModuleList([LiteralBlock(hidden_dim) for _ in range(num_layers)])
        self.output_proj = nn.Linear(hidden_dim, input_dim)

    def forward(self, context: Tensor) -> Tensor:
        states = self.input_proj(context)
        for block in self.blocks:
            states = block(states)
        return F.normalize(self.output_proj(states[:, -1]), dim=1)


class LiteralPositions(nn.Module):
    pe: Tensor

    def __init__(self, positions: int, width: int) -> None:
        super().__init__()
        table = torch.zeros(1, positions, width)
        for place in range(positions):
            for pair in range(0, width, 2):
                angle = place / 10000 ** (pair / width)
                table[0, place, pair], table[0, place, pair + 1] = math.sin(angle), math.cos(angle)
        self.register_buffer("pe", table)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.pe[:, : inputs.shape[1]]


class LiteralTransformer(nn.Module):
    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        num_heads: int = 8,
        feedforward_dim: int = 2048,
        max_positions: int = 100,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.input_proj = nn.Linear(input_dim, hidden_dim)
        self.pos_encoder = LiteralPositions(max_positions, hidden_dim)
        layer = nn.TransformerDecoderLayer(
            hidden_dim, num_heads, dim_feedforward=feedforward_dim, dropout=dropout, batch_first=True
        )
        self.transformer_decoder = nn.TransformerDecoder(layer, num_layers=num_layers)
        self.head = nn.Sequential(
            nn.Linear(hidden_dim, hidden_dim), nn.GELU(), nn.LayerNorm(hidden_dim), nn.Linear(hidden_dim, input_dim)
        )

    def forward(self, context: Tensor) -> Tensor:
        sequence = self.pos_encoder(self.input_proj(context))
        later = torch.triu(torch.ones(context.shape[1], context.shape[1], dtype=torch.bool), diagonal=1)
        decoded = self.transformer_decoder(sequence, sequence, tgt_mask=later, memory_mask=later)
        return F.normalize(self.head(decoded[:, -1]), dim=1)


class LiteralAMN(nn.Module):
    def __init__(
        self, input_dim: int = 768, attention_dim: int = 256, hidden_dim: int = 512, bottleneck_dim: int = 256
    ) -> None:
        super().__init__()
        self.context_encoder = nn.Linear(input_dim, attention_dim)
        self.query_encoder = nn.Linear(input_dim, attention_dim)
        self.residual_net = nn.Sequential(
            nn.Linear(2 * input_dim, hidden_dim),
            nn.GELU(),
            nn.LayerNorm(hidden_dim),
            nn.Linear(hidden_dim, bottleneck_dim),
            nn.GELU(),
            nn.LayerNorm(bottleneck_dim),
            nn.Linear(bottleneck_dim, input_dim),
        )

    def forward(self, context: Tensor) -> Tensor:
        mean = context.mean(dim=1)
        query, keys = self.query_encoder(mean), self.context_encoder(context)
        scores = torch.einsum("ba,bna->bn", query, keys) / math.sqrt(query.shape[1])
        weighted = torch.einsum("bn,bnd->bd", torch.softmax(scores, dim=1), context)
        return F.normalize(mean + self.residual_net(torch.cat((mean, weighted), dim=1)), dim=1)


class LiteralEncoder(nn.Module):
    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=dropout)
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, inputs: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.gru(inputs)[1][-1])
        return normed


class LiteralHierarchicalGRU(nn.Module):
    """The last chunk may be short; the reference knows whole ones only."""

    def __init__(self, input_dim: int = 768, hidden_dim: int = 512, num_layers: int = 2, dropout: float = 0.1) -> None:
        super().__init__()
        self.local_encoder = LiteralEncoder(input_dim, hidden_dim, num_layers, dropout)
        self.global_encoder = LiteralEncoder(hidden_dim, hidden_dim, num_layers, dropout)
        self.output_proj = nn.Sequential(
            nn.Linear(hidden_dim, 2 * hidden_dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * hidden_dim, input_dim)
        )
        self.residual_proj = nn.Linear(input_dim, input_dim)

    def forward(self, context: Tensor) -> Tensor:
        summaries = [self.local_encoder(chunk) for chunk in torch.split(context, 10, dim=1)]
        answer = self.global_encoder(torch.stack(summaries, dim=1))
        return F.normalize(self.output_proj(answer) + self.residual_proj(context[:, -1]), dim=1)


class LiteralRecencyMixer(nn.Module):
    """Ours, not the reference's: its deltas are of any length."""

    def __init__(self, input_dim: int = 768, hidden_dim: int = 1024, dropout: float = 0.3) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(9))
        self.linear = nn.Sequential(nn.Dropout(dropout), nn.Linear(9 * input_dim, input_dim))
        self.network = nn.Sequential(
            nn.LayerNorm(9 * input_dim),
            nn.Dropout(dropout),
            nn.Linear(9 * input_dim, hidden_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden_dim, input_dim),
        )

    def forward(self, context: Tensor) -> Tensor:
        newest_first = context.flip(1)
        features = [newest_first[:, age] if age < context.shape[1] else 0 * newest_first[:, 0] for age in range(4)]
        for decay in (0.5, 0.8, 0.95, 0.99, 1.0):
            weights = torch.tensor([decay**age for age in range(context.shape[1])], dtype=context.dtype)
            features.append((newest_first * weights[:, None]).sum(dim=1) / weights.sum())
        flat = torch.cat(features, dim=1)
        mixed = sum(weight * feature for weight, feature in zip(self.mix, features, strict=True))
        delta: Tensor = mixed + self.linear(flat) + self.network(flat) - features[0]
        return delta


class LiteralRecencyResidual(nn.Module):
    """Ours, not the reference's; what it has learned is anything but zero."""

    def __init__(self, input_dim: int = 768, hidden_dim: int = 64, key_dim: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.randn(10))
        self.dropout = nn.Dropout(dropout)
        self.query_down = nn.Linear(10 * input_dim, hidden_dim, bias=False)
        self.query_up = nn.Linear(hidden_dim, input_dim)
        self.key_down = nn.Linear(input_dim, key_dim, bias=False)
        self.key_up = nn.Linear(key_dim, input_dim, bias=False)

    def forward(self, context: Tensor) -> Tensor:
        newest_first = context.flip(1)
        features = [newest_first[:, age] if age < context.shape[1] else 0 * newest_first[:, 0] for age in range(4)]
        for decay in (0.5, 0.7, 0.85, 0.95, 0.99, 1.0):
            weights = torch.tensor([decay**age for age in range(context.shape[1])], dtype=context.dtype)
            features.append((newest_first * weights[:, None]).sum(dim=1))
        units = [feature / feature.norm(dim=1, keepdim=True).clamp(min=1e-12) for feature in features]
        base = sum(weight * unit for weight, unit in zip(self.mix, units, strict=True))
        rest = self.query_up(self.query_down(self.dropout(torch.cat(units, dim=1))))
        query = base / base.norm(dim=1, keepdim=True) + rest
        delta: Tensor = query / query.norm(dim=1, keepdim=True) - features[0]
        return delta


class LiteralMaps(nn.Module):
    def __init__(self, groups: int, inputs: int, outputs: int) -> None:
        super().__init__()
        maps = [nn.Linear(inputs, outputs) for _ in range(groups)]
        self.weight = nn.Parameter(torch.stack([one.weight.detach() for one in maps]))
        self.bias = nn.Parameter(torch.stack([one.bias.detach() for one in maps]))

    def forward(self, inputs: Tensor, group: int) -> Tensor:
        return inputs @ self.weight[group].T + self.bias[group]


class LiteralSpecialistGRU(nn.Module):
    """Dense: every expert speaks on everything, and those the gate has not chosen have no weight."""

    def __init__(
        self,
        input_dim: int = 768,
        hidden_dim: int = 512,
        num_layers: int = 4,
        num_experts: int = 16,
        expert_dim: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(hidden_dim, num_experts)
        self.widen = LiteralMaps(num_experts, hidden_dim, expert_dim)
        self.narrow = LiteralMaps(num_experts, expert_dim, input_dim)
        self.input_norm = nn.LayerNorm(input_dim)
        self.gru = nn.GRU(input_dim, hidden_dim, num_layers, batch_first=True, dropout=dropout)

    def forward(self, context: Tensor) -> Tensor:
        states, _ = self.gru(self.input_norm(context))
        hidden = states[:, -1]
        probabilities = torch.softmax(self.gate(hidden), dim=1)
        second = probabilities.topk(2, dim=1).values[:, 1:]
        kept = probabilities * (probabilities >= second)
        weights = kept / kept.sum(dim=1, keepdim=True)
        experts = range(weights.shape[1])
        said = torch.stack([self.narrow(F.gelu(self.widen(hidden, e)), e) for e in experts], dim=1)
        return F.normalize(torch.einsum("be,bed->bd", weights, said), dim=1)


LITERAL: dict[str, type[nn.Module]] = {
    "memory_gru": LiteralMemoryGRU,
    "lstm": LiteralLSTM,
    "gru": LiteralGRU,
    "transformer": LiteralTransformer,
    "amn": LiteralAMN,
    "hierarchical_gru": LiteralHierarchicalGRU,
    "recency_mixer": LiteralRecencyMixer,
    "recency_residual": LiteralRecencyResidual,
    "specialist_gru": LiteralSpecialistGRU,
}


def literal_model(name: str, **sizes: float) -> nn.Module:
    """A literal model, in evaluation mode; small, with a lively memory, unless told otherwise."""
    model = LITERAL[name](**{**SMALL[name], **sizes}).eval()
    if isinstance(model, LiteralMemoryGRU):
        model.memory.memory.mul_(50.0)  # unlike fresh ones, slots that matter
    return model

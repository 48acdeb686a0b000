"""Mixtures of experts: causal models with many heads, of which a gate lets the few fitting ones answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..ops.linear_grouped import grouped_linear
from .answering import place_of
from .causal import CausalModel
from .checks import configured, size, tensor_of


class GroupedLinear(nn.Module):
    """G linear maps, drawn as `torch.nn.Linear` draws its own.

    Args:
        groups: Maps G.
        in_features: Width I of their inputs.
        out_features: Width O of their outputs.
    """

    def __init__(self, groups: int, in_features: int, out_features: int) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_features)
        self.weight = nn.Parameter(torch.empty(groups, out_features, in_features).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(groups, out_features).uniform_(-bound, bound))

    def forward(self, rows: Tensor, groups: Tensor) -> Tensor:
        """Rows (R, I), the group of each (R,) -> (R, O)."""
        mapped: Tensor = grouped_linear(rows, groups, self.weight, self.bias)
        return mapped


class MixtureOfExperts(CausalModel):
    """A causal model whose head is a mixture of experts, each a network with one hidden layer.

    A linear gate scores the E experts for each hidden state. The `top_k` best run, the others do not, in training
    neither: each expert computes those hidden states that are its own. The raw delta is the sum of what the
    chosen ones say, weighted by the softmax over their scores. An architecture says what leads to the hidden states.

    Source: Shazeer et al., Outrageously Large Neural Networks: The Sparsely-Gated Mixture-of-Experts Layer (2017),
    without their noise; two experts as in Lepikhin et al., GShard (2020).

    Args:
        sizes: Constructor arguments that are counts; `hidden_dim`, `num_experts`, `expert_dim` (the experts' hidden
            layer) and `top_k` are the head's.
        domains: What each expert is called, E different names; none for "expert 0" and so on.
        normalize_delta: As in `CausalModel`.
        dropout: Dropout of the experts' hidden layer.

    Raises:
        ValueError: A size does not fit, or the names do not.
    """

    top_k: int = configured("top_k", size)

    def __init__(self, sizes: dict[str, int], domains: Sequence[str], normalize_delta: bool, dropout: float) -> None:
        super().__init__(sizes, normalize_delta, dropout=dropout)
        self.num_experts, self.dropout = self.config["num_experts"], self.config["dropout"]
        if self.top_k > self.num_experts:
            expected = f"at most {self.num_experts}, its experts"
            raise ValueError(f"{self.model_type}: top_k = {self.top_k}; expected {expected}")
        self.name_experts(domains)
        self.gate = nn.Linear(sizes["hidden_dim"], self.num_experts)
        self.widen = GroupedLinear(self.num_experts, sizes["hidden_dim"], sizes["expert_dim"])
        self.narrow = GroupedLinear(self.num_experts, sizes["expert_dim"], sizes["input_dim"])
        self._gate_scores: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_gate_scores": None}  # tensors with a history cannot be copied

    def name_experts(self, names: Sequence[str] | NDArray[np.str_]) -> None:
        """Say what each expert is for: E different names, or none. Raises ValueError where they do not fit."""
        names = names.tolist() if isinstance(names, np.ndarray) else names
        texts = not isinstance(names, str) and isinstance(names, Sequence) and all(isinstance(n, str) for n in names)
        if not texts or len(set(names)) != len(names) or len(names) not in (0, self.num_experts):
            expected = f"{self.num_experts} different names, one an expert, or none"
            raise ValueError(f"{self.model_type}: domains = {names!r}; expected {expected}")
        self.config["domains"] = [str(name) for name in names]

    @property
    def route_names(self) -> list[str]:
        """The names of the experts, (E,)."""
        return self.config["domains"] or [f"expert {number}" for number in range(self.num_experts)]

    def routes(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the weight of each expert in the answer to each context.

        Args:
            context: (B, N, D), right-padded where `lengths` is given.
            lengths: Valid vectors of each row, 1 to N, integers (B,); all N unless given.

        Returns:
            Weights (B, E), whose sum is 1 in each row; 0 for the experts that do not run.
        """
        self.check_context(context, lengths)
        best, experts = self._chosen(self._scores(self.last_hidden(context, lengths)))
        return (self._is_chosen(experts) * best.softmax(dim=1)[..., None]).sum(dim=1)

    def raw_delta(self, hidden: Tensor) -> Tensor:
        """See `CausalModel.raw_delta`."""
        scores = self._scores(hidden)  # (..., E)
        if self.training:
            self._gate_scores = scores
        best, experts = self._chosen(scores.flatten(0, -2))  # (R, k)
        said = self._answers(hidden.flatten(0, -2), experts)  # (R, k, D)
        raw: Tensor = (best.softmax(dim=1)[..., None] * said).sum(dim=1)  # (R, D)
        return raw.view(*hidden.shape[:-1], -1)

    def take_gate_scores(self) -> Tensor:
        """Take the gate's scores of the last training pass, (B, E) of `forward` or (B, N, E) of `deltas`; once."""
        scores, self._gate_scores = self._gate_scores, None
        if scores is None:
            raise RuntimeError(f"{self.model_type}: no pass in training mode since the gate's scores were last taken")
        return scores

    def _scores(self, hidden: Tensor) -> Tensor:
        with torch.autocast(hidden.device.type, enabled=False):  # a rounded score may be another expert's
            scores: Tensor = self.gate(hidden.to(place_of(self.gate)[1]))
        return scores

    def _chosen(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best scores (R, E) and whose they are, (R, k) each, best first."""
        experts = scores.topk(self.top_k, dim=1).indices
        # not topk's own values: their gradient is a scatter, which torch 2.13 compiles wrongly for the CPU
        best = (self._is_chosen(experts) * scores[:, None]).sum(dim=2)
        return best, experts

    def _is_chosen(self, experts: Tensor) -> Tensor:
        """Experts (R, k) -> which of all E each is, bool (R, k, E); torch's `one_hot` is not for torch.func's maps."""
        return experts[..., None] == torch.arange(self.num_experts, device=experts.device)

    def _answers(self, rows: Tensor, experts: Tensor) -> Tensor:
        """Run the chosen experts (R, k) on hidden states (R, H): (R, k, D)."""
        asked = rows[:, None].expand(-1, self.top_k, -1).flatten(0, 1)  # (R * k, H)
        inner = F.dropout(F.gelu(self.widen(asked, experts.flatten())), self.dropout, self.training)
        said: Tensor = self.narrow(inner, experts.flatten())
        return said.view(*experts.shape, -1)

    @classmethod
    def head_sizes(cls, state: Mapping[str, Tensor]) -> dict[str, int]:
        """Read experts and their width from a state dict. Raises ValueError as `config_from_state`."""
        return {
            "num_experts": len(tensor_of(cls.model_type, state, "gate.weight", 2)),
            "expert_dim": tensor_of(cls.model_type, state, "widen.weight", 3).shape[1],
        }


def rows_of_each(experts: Tensor, count: int) -> Tensor:
    """Count each expert number from 0 to `count` - 1 in a tensor of any shape: (count,) int64."""
    return (experts.flatten() == torch.arange(count, device=experts.device)[:, None]).sum(dim=1)

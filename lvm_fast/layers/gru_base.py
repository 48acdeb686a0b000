"""What TorchScript reads of a GRU: torch's own recurrence."""

# no annotations from the future: TorchScript reads these
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .recurrent import Recurrent

TorchGRU = nn.GRU  # as imported: programs put ours in its place


class GRUBase(Recurrent):
    """A GRU whose `forward` is torch's in TorchScript; see `lvm_fast.layers.gru.GRU`."""

    __overloads__: ClassVar[dict[str, list[str]]] = {"forward": ["_script_steps", "_script_packed"]}
    torch_class = TorchGRU

    @torch.jit.export
    def _script_steps(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch_dim = 0 if self.batch_first else 1
        is_batched = input.dim() == 3
        steps = input if is_batched else input.unsqueeze(batch_dim)
        initial = self._script_initial(steps, steps.size(batch_dim), hx, is_batched)
        self.check_forward_args(steps, initial, None)
        states, final = torch.gru(
            steps,
            initial,
            self._flat_weights,  # type: ignore[arg-type]
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
        )
        return (states, final) if is_batched else (states.squeeze(batch_dim), final.squeeze(1))

    @torch.jit.export
    def _script_packed(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]:
        data, batch_sizes, order, back = input
        initial = self.permute_hidden(self._script_initial(data, int(batch_sizes[0]), hx, True), order)
        self.check_forward_args(data, initial, batch_sizes)
        states, final = torch.gru(
            data,
            batch_sizes,
            initial,
            self._flat_weights,  # type: ignore[arg-type]
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
        )
        return PackedSequence(states, batch_sizes, order, back), self.permute_hidden(final, back)

    def _script_initial(self, like: Tensor, batch: int, hx: Tensor | None, is_batched: bool) -> Tensor:
        if hx is not None:
            return hx if is_batched else hx.unsqueeze(1)
        count = 2 * self.num_layers if self.bidirectional else self.num_layers
        return torch.zeros(count, batch, self.hidden_size, dtype=like.dtype, device=like.device)

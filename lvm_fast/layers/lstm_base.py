"""What TorchScript reads of an LSTM: torch's own recurrence."""

# no annotations from the future: TorchScript reads these
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from .recurrent import Recurrent

TorchLSTM = nn.LSTM  # as imported: programs put ours in its place


class LSTMBase(Recurrent):
    """An LSTM whose `forward` is torch's in TorchScript; see `lvm_fast.layers.lstm.LSTM`."""

    __overloads__: ClassVar[dict[str, list[str]]] = {"forward": ["_script_steps", "_script_packed"]}
    torch_class = TorchLSTM
    batch_first_before = True
    # which torch's own forward calls
    get_expected_cell_size: Any = TorchLSTM.get_expected_cell_size
    check_forward_args: Any = TorchLSTM.check_forward_args
    permute_hidden: Any = TorchLSTM.permute_hidden

    @torch.jit.export
    def _script_steps(
        self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch_dim = 0 if self.batch_first else 1
        is_batched = input.dim() == 3
        steps = input if is_batched else input.unsqueeze(batch_dim)
        initial = self._script_initial(steps, steps.size(batch_dim), hx, is_batched)
        self.check_forward_args(steps, initial, None)
        states, final, cell = torch.lstm(
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
        if is_batched:
            return states, (final, cell)
        return states.squeeze(batch_dim), (final.squeeze(1), cell.squeeze(1))

    @torch.jit.export
    def _script_packed(
        self, input: PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]:
        data, batch_sizes, order, back = input
        initial = self.permute_hidden(self._script_initial(data, int(batch_sizes[0]), hx, True), order)
        self.check_forward_args(data, initial, batch_sizes)
        states, final, cell = torch.lstm(
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
        return PackedSequence(states, batch_sizes, order, back), self.permute_hidden((final, cell), back)

    def _script_initial(
        self, like: Tensor, batch: int, hx: tuple[Tensor, Tensor] | None, is_batched: bool
    ) -> tuple[Tensor, Tensor]:
        if hx is not None:
            return hx if is_batched else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
        count = 2 * self.num_layers if self.bidirectional else self.num_layers
        zeros = torch.zeros(count, batch, self.hidden_size, dtype=like.dtype, device=like.device)
        return zeros, zeros

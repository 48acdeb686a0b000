"""Every operator as a function of ours beside the same in torch's own operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

import lvm_fast as lf
from lvm_fast.ops.dropout import dropout
from lvm_fast.ops.gru_bf16 import gru_bf16_layer
from lvm_fast.ops.gru_cudnn import gru_cudnn_layer
from lvm_fast.ops.gru_f32 import gru_layer
from lvm_fast.ops.infonce import candidate_logsumexp
from lvm_fast.ops.linear_grouped import grouped_linear
from lvm_fast.ops.linear_ragged import linear_within
from lvm_fast.ops.lstm_f32 import lstm_layer

Function = Callable[..., Tensor]


class Case(NamedTuple):
    """A function of ours, the same in torch's own operators, and where to look at them."""

    ours: Function
    torchs: Function
    given: tuple[Tensor, ...]
    off: float = 2e-4  # what rounding may do


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return 0.7 * torch.randn(*shape, dtype=dtype)


def gru_case(read: str, dtype: torch.dtype = torch.float32, batch: int = 4, **settings: bool) -> Case:
    """A GRU as a function of its inputs and every parameter."""
    ours = lf.GRU(3, 2, 2, batch_first=True, **settings).to(dtype)
    theirs = nn.GRU(3, 2, 2, batch_first=True, **settings).to(dtype)
    names = [name for name, _ in ours.named_parameters()]
    lengths = torch.tensor([3, 1, 2, 3]) if read == "lengths" else None

    def run_ours(x: Tensor, *weights: Tensor) -> Tensor:
        named = dict(zip(prefixed(names), weights, strict=True))
        result: Tensor = functional_call(Reader(ours, read, lengths), named, (x,))
        return result

    def run_theirs(x: Tensor, *weights: Tensor) -> Tensor:
        values = dict(zip(names, weights, strict=True))
        if read == "lengths":  # one by one
            runs = (functional_call(theirs, values, (x[b : b + 1, :n],))[0] for b, n in enumerate((3, 1, 2, 3)))
            return torch.cat([F.pad(run, (0, 0, 0, 3 - run.shape[1])) for run in runs])
        states, final = functional_call(theirs, values, (x,))
        whole = torch.cat((states.flatten(), final.flatten()))
        result: Tensor = {"last": final[-1], "states": states}.get(read, whole)
        return result

    return Case(run_ours, run_theirs, (numbers(batch, 3, 3, dtype=dtype), *(p.detach() for p in ours.parameters())))


def prefixed(names: list[str]) -> list[str]:
    return [f"gru.{name}" for name in names]


class Reader(nn.Module):
    """A GRU, read in one of its ways."""

    def __init__(self, gru: lf.GRU, read: str, lengths: Tensor | None) -> None:
        super().__init__()
        self.gru, self.read, self.lengths = gru, read, lengths

    def forward(self, x: Tensor) -> Tensor:
        if self.read == "last":
            return self.gru.last_state(x)
        if self.read == "states":
            return self.gru.states(x)
        if self.lengths is not None:
            inside = torch.arange(x.shape[1]) < self.lengths[:, None]
            return self.gru.states(x, lengths=self.lengths) * inside[..., None]
        states, final = self.gru(x)
        return torch.cat((states.flatten(), final.flatten()))


def gru_layer_in_reverse() -> Case:
    """What is read from the end is what is turned around, of the same length."""
    forwards = gru_layer_case(None)

    def theirs(inputs: Tensor, *own: Tensor) -> Tensor:
        return forwards.torchs(inputs.flip(0), *own).flip(0)

    return Case(lambda *given: gru_layer(*given, None, False, True)[0][:-1], theirs, forwards.given)


def gru_layer_case(lengths: list[int] | None) -> Case:
    ends = None if lengths is None else torch.tensor(lengths)

    def theirs(inputs: Tensor, weight: Tensor, bias: Tensor, initial: Tensor) -> Tensor:
        own = [torch.eye(6), weight, torch.zeros(6), bias]  # inputs come projected
        if lengths is None:
            return torch.gru(inputs, initial[None], own, True, 1, 0.0, False, False, False)[0]
        every = []
        for b, n in enumerate(lengths):
            run = torch.gru(inputs[:n, b : b + 1], initial[None, b : b + 1], own, True, 1, 0.0, False, False, False)[0]
            every.append(torch.cat((run, run[-1:].expand(3 - n, -1, -1))))
        return torch.cat(every, dim=1)

    given = numbers(3, 2, 6), numbers(6, 2), numbers(6), numbers(2, 2)
    return Case(lambda *given: gru_layer(*given, ends, False)[0][1:], theirs, given)


def bf16_case() -> Case:
    def ours(*given: Tensor) -> Tensor:
        states: Tensor = gru_bf16_layer(*given, torch.tensor([3, 2]))[0]
        return states[1:, :, :2].float()

    def theirs(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, b: Tensor, c: Tensor, initial: Tensor) -> Tensor:
        inside = F.linear(inputs, weight_ih, b)
        return layer(inside, weight_hh, c, initial)

    layer = gru_layer_case([3, 2]).torchs
    given = numbers(3, 2, 3), numbers(6, 3), numbers(6, 2), numbers(6), numbers(6), numbers(2, 2)
    return Case(ours, theirs, given, off=0.05)


def cudnn_case() -> Case:
    def theirs(inputs: Tensor, initial: Tensor, weights: Tensor) -> Tensor:
        ih, hh, b, c = torch.split(weights, [18, 12, 6, 6])
        return layer(F.linear(inputs, ih.view(6, 3), b), hh.view(6, 2), c, initial)

    layer = gru_layer_case(None).torchs
    return Case(lambda *given: gru_cudnn_layer(*given, True)[0], theirs, (numbers(3, 2, 3), numbers(2, 2), numbers(42)))


def lstm_case(dtype: torch.dtype = torch.float32, batch: int = 4, **settings: bool) -> Case:
    """An LSTM as a function of its inputs and every parameter; torch's own runs step by step, for its derivatives."""
    ours = lf.LSTM(3, 2, 2, batch_first=True, **settings).to(dtype)
    names = [name for name, _ in ours.named_parameters()]

    def run_ours(x: Tensor, *weights: Tensor) -> Tensor:
        states, (final, cell) = functional_call(ours, dict(zip(names, weights, strict=True)), (x,))
        return torch.cat((states.flatten(), final.flatten(), cell.flatten()))

    def run_theirs(x: Tensor, *weights: Tensor) -> Tensor:
        values, below, finals = dict(zip(names, weights, strict=True)), list(x.unbind(1)), []
        for layer in range(2):
            own = [
                values.get(f"{name}_l{layer}", x.new_zeros(8))
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            ]
            states, pair = [], (x.new_zeros(batch, 2), x.new_zeros(batch, 2))
            for step in below:
                pair = torch.lstm_cell(step, pair, *own)
                states.append(pair[0])
            below = states
            finals.append(pair)
        final, cell = (torch.stack(each) for each in zip(*finals, strict=True))
        return torch.cat((torch.stack(below, dim=1).flatten(), final.flatten(), cell.flatten()))

    given = numbers(batch, 3, 3, dtype=dtype), *(parameter.detach() for parameter in ours.parameters())
    return Case(run_ours, run_theirs, given)


def lstm_layer_case(lengths: list[int] | None, reverse: bool) -> Case:
    ends = None if lengths is None else torch.tensor(lengths)

    def ours(*given: Tensor) -> Tensor:
        states, _, _, final, cell = lstm_layer(*given, ends, reverse)
        return torch.cat((states.flatten(), final.flatten(), cell.flatten()))

    def theirs(inputs: Tensor, weight_ih: Tensor, weight_hh: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> Tensor:
        every, finals = [], []
        for b, n in enumerate(lengths or [3, 3]):
            pair, states = (h[b : b + 1], c[b : b + 1]), [h[b]]
            for t in reversed(range(3)) if reverse else range(3):
                if t < n:
                    pair = torch.lstm_cell(inputs[t, b : b + 1], pair, weight_ih, weight_hh, bias)
                states.append(pair[0][0])
            every.append(torch.stack(states[::-1] if reverse else states))
            finals.append(pair)
        final, cell = (torch.cat(each) for each in zip(*finals, strict=True))
        return torch.cat((torch.stack(every, dim=1).flatten(), final.flatten(), cell.flatten()))

    shapes = (3, 2, 3), (8, 3), (8, 2), (8,), (2, 2), (2, 2)
    return Case(ours, theirs, tuple(numbers(*shape) for shape in shapes))


def dropout_case() -> Case:
    kept = dropout(torch.ones(5, 7), 0.4, torch.tensor([11]))
    return Case(lambda x: dropout(x, 0.4, torch.tensor([11])), lambda x: x * kept, (numbers(5, 7),))


def ragged_case() -> Case:
    lengths = torch.tensor([3, 2, 0])
    inside = (torch.arange(3)[:, None] < lengths)[..., None]
    given = numbers(3, 3, 4), numbers(2, 4), numbers(2)
    return Case(lambda *g: linear_within(*g, lengths), lambda *g: F.linear(*g) * inside, given)


def grouped_case() -> Case:
    chosen = [2, 0, 2, 2, 0]
    groups = torch.tensor(chosen)

    def theirs(rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.stack([weight[g] @ row + bias[g] for g, row in zip(chosen, rows, strict=True)])

    given = numbers(5, 3), numbers(4, 2, 3), numbers(4, 2)
    return Case(lambda r, w, b: grouped_linear(r, groups, w, b), theirs, given)


def infonce_case() -> Case:
    masked = torch.tensor([[0, 1, 1], [4, 0, 5]])
    is_masked = torch.zeros(3, 6, dtype=torch.bool).index_put(tuple(masked), torch.tensor(True))

    def theirs(predicted: Tensor, candidates: Tensor) -> Tensor:
        return (1.5 * predicted @ candidates.T).masked_fill(is_masked, -torch.inf).logsumexp(dim=1)

    given = numbers(3, 4), numbers(6, 4)
    return Case(lambda p, c: candidate_logsumexp(p, c, masked, 1.5)[0], theirs, given)


def rows_case(with_delta: bool) -> Case:
    def theirs(*given: Tensor) -> Tensor:
        v = torch.stack(given).sum(dim=0)
        unit: Tensor = v / (v.norm(dim=-1, keepdim=True) + 1e-8)
        return unit

    given = tuple(numbers(4, 5) for _ in range(2 if with_delta else 1))
    return Case(lf.reconstruct if with_delta else lf.l2_normalize, theirs, given)


CASES: dict[str, Callable[[], Case]] = {
    "GRU": lambda: gru_case("both"),
    "GRU of few sequences": lambda: gru_case("both", batch=2),
    "GRU without bias": lambda: gru_case("both", bias=False),
    "GRU in float64": lambda: gru_case("both", torch.float64),
    "GRU.states": lambda: gru_case("states"),
    "GRU.states of several lengths": lambda: gru_case("lengths"),
    "GRU.states of several lengths in float64": lambda: gru_case("lengths", torch.float64),
    "GRU.last_state": lambda: gru_case("last"),
    "gru_layer": lambda: gru_layer_case(None),
    "gru_layer of several lengths": lambda: gru_layer_case([3, 1]),
    "gru_layer in reverse": gru_layer_in_reverse,
    "gru_bf16_layer": bf16_case,
    "gru_cudnn_layer": cudnn_case,
    "LSTM": lstm_case,
    "LSTM of few sequences": lambda: lstm_case(batch=2),
    "LSTM without bias": lambda: lstm_case(bias=False),
    "LSTM in float64": lambda: lstm_case(torch.float64),
    "lstm_layer": lambda: lstm_layer_case(None, False),
    "lstm_layer of several lengths, in reverse": lambda: lstm_layer_case([3, 1], True),
    "dropout": dropout_case,
    "linear_within": ragged_case,
    "grouped_linear": grouped_case,
    "candidate_logsumexp": infonce_case,
    "l2_normalize": lambda: rows_case(False),
    "reconstruct": lambda: rows_case(True),
}

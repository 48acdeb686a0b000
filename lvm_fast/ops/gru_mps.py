"""Chooses the recurrence of a GRU on Apple's MPS by a check against the CPU: MPS's own is wrong at some sizes."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .._util.torch_compat import outside_compiler
from .gru_naive import Layers, Weights, step_loop

# inputs (N, B, I), initial (L, B, H), layers, dropout, lengths (B,) or None -> states (N, B, H), final (L, B, H)
Run = Callable[[Tensor, Tensor, Layers, float, Tensor | None], tuple[Tensor, Tensor]]

_CLOSE = 1e-3  # relative error of a result: rounding stays far below at a thousand steps, the known faults far above
_log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """The sizes of a recurrence, and what it has to do.

    Attributes:
        batch: Sequences B.
        steps: Steps N of the longest.
        input_size: Width I of the inputs.
        hidden_size: Width H of the states.
        num_layers: Layers L.
        ragged: Whether the sequences have lengths of their own.
        gradients: Whether gradients are wanted.
    """

    batch: int
    steps: int
    input_size: int
    hidden_size: int
    num_layers: int
    ragged: bool = False
    gradients: bool = True

    def __str__(self) -> str:
        lengths = " of own lengths" if self.ragged else ""
        return f"{self.batch} x {self.steps} steps{lengths}, {self.num_layers} layers of {self.hidden_size}"


@dataclass
class _Trust:
    """The sizes at which a way is known to be right: up to `good` and not from `bad` on, in batch x steps."""

    good: int = 0
    bad: float = math.inf


_trust: dict[tuple[object, ...], _Trust] = {}


@outside_compiler
def choose_recurrence(device: torch.device, problem: Problem, native: Run, cpu: Run) -> str:
    """Decide which way to take on a device: the first whose results, and gradients if wanted, agree with the CPU's.

    A way is checked on made-up numbers at the real batch x steps. It is taken to be right for anything smaller, too,
    and to be wrong for anything larger once it was wrong: so the known faults of MPS behave (wrong gradients of the GRU
    above a product of 32,768, pytorch #177116; NaN, #94691). The random numbers of the program stay untouched.

    Args:
        device: Where the tensors are.
        problem: What is to be done.
        native: torch's own GRU.
        cpu: The reference, on CPU tensors.

    Returns:
        "native", else "steps" for `step_loop`, else "cpu". The reason is logged when it is found out: as information
        where the native way is right, as a warning otherwise.
    """
    size = problem.batch * problem.steps
    expected: list[Tensor] | None = None
    faults: list[str] = []
    for name, run in (("native", native), ("steps", step_loop)):
        trust = _trust.setdefault((str(device), native, name, *problem[2:]), _Trust())
        if size <= trust.good:
            return name
        if size >= trust.bad:
            continue
        expected = _results(cpu, torch.device("cpu"), problem) if expected is None else expected
        fault = _fault(run, device, problem, expected)
        if fault is None:
            trust.good = size
            level = logging.WARNING if faults else logging.INFO
            _log.log(level, "GRU on %s: %s (%s): agrees with the CPU%s", device, name, problem, _because(faults))
            return name
        trust.bad = size
        faults.append(f"{name} {fault}")
    if faults:
        _log.warning("GRU on %s: the CPU's (%s)%s", device, problem, _because(faults))
    return "cpu"


def run_checked(
    inputs: Tensor, initial: Tensor, layers: Layers, dropout: float, lengths: Tensor | None, native: Run, cpu: Run
) -> tuple[Tensor, Tensor]:
    """Run a GRU the way that `choose_recurrence` has found to be right on the device of the inputs."""
    steps, batch, width = inputs.shape
    gradients, ragged = torch.is_grad_enabled(), lengths is not None
    problem = Problem(batch, steps, width, initial.shape[-1], len(layers), ragged, gradients)
    way = choose_recurrence(inputs.device, problem, native, cpu)
    if way != "cpu":
        return (native if way == "native" else step_loop)(inputs, initial, layers, dropout, lengths)
    own = [_moved(layer, torch.device("cpu")) for layer in layers]
    counts = None if lengths is None else lengths.cpu()
    states, final = cpu(inputs.cpu(), initial.cpu(), own, dropout, counts)
    return states.to(inputs.device), final.to(inputs.device)


def _results(run: Run, device: torch.device, problem: Problem) -> list[Tensor]:
    """States, final states, and the gradients of everything, on the CPU; of the same made-up numbers every time."""
    random = torch.Generator().manual_seed(0)

    def made(*shape: int, scale: float = 1.0) -> Tensor:
        numbers = scale * torch.randn(shape, generator=random)
        return numbers.to(device).requires_grad_(problem.gradients)

    hidden, layers = problem.hidden_size, []
    for layer in range(problem.num_layers):
        shapes = ((3 * hidden, hidden if layer else problem.input_size), (3 * hidden, hidden), (3 * hidden,))
        weight_ih, weight_hh, bias = (made(*shape, scale=hidden**-0.5) for shape in shapes)
        layers.append((weight_ih, weight_hh, bias, made(3 * hidden, scale=hidden**-0.5)))
    inputs = made(problem.steps, problem.batch, problem.input_size)
    initial = made(problem.num_layers, problem.batch, hidden)
    lengths = torch.linspace(problem.steps, 1, problem.batch).long() if problem.ragged else None
    with torch.set_grad_enabled(problem.gradients), torch.autocast(device.type, enabled=False):
        states, final = run(inputs, initial, layers, 0.0, lengths)
    if lengths is not None:  # beyond a length any state may stand
        valid = torch.arange(problem.steps)[:, None] < lengths  # (N, B)
        states = states * valid[..., None].to(device)
    results = [states, final]
    if problem.gradients:
        sources = [inputs, initial, *(tensor for layer in layers for tensor in layer)]
        pulls = [torch.randn(result.shape, generator=random).to(device) for result in results]
        results += torch.autograd.grad(results, sources, pulls)
    return [result.detach().cpu() for result in results]


def _fault(run: Run, device: torch.device, problem: Problem, expected: list[Tensor]) -> str | None:
    try:
        results = _results(run, device, problem)
    except (RuntimeError, NotImplementedError) as error:
        return f"fails ({' '.join(str(error).split())[:200]})"
    errors = [float((mine - right).norm() / right.norm()) for mine, right in zip(results, expected, strict=True)]
    errors = [math.inf if math.isnan(error) else error for error in errors]
    worst = max(errors)
    if worst < _CLOSE:
        return None
    kind = "states" if max(errors[:2]) == worst else "gradients"
    return f"is off by {worst:.1e} in its {kind}"


def _because(faults: list[str]) -> str:
    return f"; {', '.join(faults)}" if faults else ""


def _moved(layer: Weights, device: torch.device) -> Weights:
    weight_ih, weight_hh, bias_ih, bias_hh = (tensor.to(device) for tensor in layer)
    return weight_ih, weight_hh, bias_ih, bias_hh

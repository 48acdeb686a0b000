"""Cuts real contexts from chains, and runs a model and its package on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.chain_store import ChainStore
from ..data.sample import sample_path
from ..models.answering import answering, place_of
from ..models.base import LatentVectorModel
from ..ops.rowwise import l2_normalize

if TYPE_CHECKING:
    from .mil.interpreter import Interpreter

_STREAMED = 32  # vectors pushed through `step`
_FLEXIBLE_LENGTHS = (1, 2, 13, 100)  # of contexts given to a function that takes any length


class ProbeInputs(NamedTuple):
    """Contexts for one function of a package.

    Attributes:
        context: (P, N, D) float32, right-padded.
        lengths: Valid vectors of each context, (P,). For ``step`` each context is the one before and a vector more.
        targets: The row that follows each context, (P,).
    """

    context: NDArray[np.float32]
    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]

    def first_of_each_length(self) -> NDArray[np.int64]:
        """Return the places of the first context of each length."""
        places: NDArray[np.int64] = np.unique(self.lengths, return_index=True)[1]
        return places

    def at(self, places: NDArray[np.int64]) -> ProbeInputs:
        """Return some of the contexts."""
        return ProbeInputs(self.context[places], self.lengths[places], self.targets[places])


class ProbeOutputs(NamedTuple):
    """The outputs of a function for P contexts, (P, D) float32 each.

    Attributes:
        next_vector: Unit vectors.
        delta: Steps, in the model's space where it has one.
        query: Unit vectors in the model's space; None where it has none.
    """

    next_vector: NDArray[np.float32]
    delta: NDArray[np.float32]
    query: NDArray[np.float32] | None = None

    @property
    def searched(self) -> NDArray[np.float32]:
        """The vectors to search with among the model's keys."""
        return self.next_vector if self.query is None else self.query

    @property
    def units(self) -> list[NDArray[np.float32]]:
        """The outputs that are unit vectors."""
        return [self.next_vector] if self.query is None else [self.next_vector, self.query]

    def at(self, places: NDArray[np.int64]) -> ProbeOutputs:
        """Return the outputs for some of the contexts."""
        return ProbeOutputs(**{name: array[places] for name, array in self.by_name().items()})

    def by_name(self) -> dict[str, NDArray[np.float32]]:
        """Return the outputs that there are, by the names that a package gives them."""
        return {name: array for name, array in self._asdict().items() if array is not None}


def sample_rows(dim: int) -> NDArray[np.float32]:
    """Return the sample's vectors, (T, D) float32; random unit vectors without it, and for models of another width."""
    path = sample_path()
    vectors = None if path is None else ChainStore.open(path).vectors
    if vectors is not None and vectors.shape[1] == dim:
        return np.asarray(vectors, np.float32)
    rows = np.random.default_rng(0).standard_normal((1024, dim)).astype(np.float32)
    return l2_normalize(rows)


def make_probe_inputs(
    shape: tuple[int | None, ...], longest: int | None, rows: NDArray[np.float32], contexts: int
) -> ProbeInputs:
    """Cut contexts from rows, spread evenly over them; past the last row they go on at the first.

    Args:
        shape: Of the function's input: (1, N, D) or (1, None, D) for contexts, (1, D) for one vector a call.
        longest: Most vectors of a context where N is None, and of a stream; None where there is no limit.
        rows: (T, D).
        contexts: How many contexts where N is fixed.
    """
    if len(shape) == 2:
        lengths = np.arange(1, min(_STREAMED, longest or _STREAMED) + 1)
        starts = np.zeros_like(lengths)
    else:
        fitting = [length for length in _FLEXIBLE_LENGTHS if longest is None or length <= longest]
        lengths = np.array(fitting if shape[1] is None else [shape[1]] * contexts)
        starts = np.linspace(0, len(rows), len(lengths), endpoint=False, dtype=np.int64)
    places = (starts[:, None] + np.arange(lengths.max())) % len(rows)  # (P, N)
    return ProbeInputs(rows[places], lengths, (starts + lengths) % len(rows))


def run_model(model: LatentVectorModel, inputs: ProbeInputs) -> ProbeOutputs:
    """Run the model in torch."""
    given = inputs.context, inputs.lengths
    query = None if model.space is None else model.query(*given)
    with torch.no_grad():
        device, dtype = place_of(model)
        context = torch.from_numpy(inputs.context).to(device)
        if model.space is not None:
            context = model.space(context)
        deltas = answering(model)(context.to(dtype), torch.from_numpy(inputs.lengths).to(device))
        return ProbeOutputs(model.predict(*given), deltas.float().cpu().numpy(), query)


def run_program(program: Interpreter, function: str, inputs: ProbeInputs) -> ProbeOutputs:
    """Run a function of a package: context by context, or vector by vector through its state."""
    state = program.new_state(function)
    results = []
    for context, length in zip(inputs.context, inputs.lengths, strict=True):
        if "vector" in program.input_shapes(function):
            results.append(program.run(function, {"vector": context[None, length - 1]}, state))
        else:
            results.append(program.run(function, {"context": context[None, :length]}))
    return ProbeOutputs(**{name: np.concatenate([result[name] for result in results]) for name in results[0]})

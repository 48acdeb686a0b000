"""Real contexts to put to a package and to its model, and the answers of both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.sample import sample
from ..models.answering import answering, place_of
from ..models.base import LatentVectorModel
from ..ops.rowwise import l2_normalize

if TYPE_CHECKING:
    from .mil.interpreter import Interpreter

_STREAMED = 32  # vectors pushed through `step`
_FLEXIBLE = (1, 2, 13, 100)  # context lengths given to a function that takes any


class Questions(NamedTuple):
    """Contexts for one function of a package.

    Attributes:
        context: (P, N, D) float32, right-padded.
        lengths: Valid vectors of each context, (P,). For ``step`` each context is the one before and a vector more.
        targets: The row that follows each context, (P,).
    """

    context: NDArray[np.float32]
    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]

    def one_a_length(self) -> NDArray[np.int64]:
        """The places of the first question of each length."""
        places: NDArray[np.int64] = np.unique(self.lengths, return_index=True)[1]
        return places

    def at(self, places: NDArray[np.int64]) -> Questions:
        """Some of the questions."""
        return Questions(self.context[places], self.lengths[places], self.targets[places])


class Answers(NamedTuple):
    """What functions give for P contexts, (P, D) float32 each.

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
        """What to search with among the model's keys."""
        return self.next_vector if self.query is None else self.query

    @property
    def units(self) -> list[NDArray[np.float32]]:
        """The unit vectors among them."""
        return [self.next_vector] if self.query is None else [self.next_vector, self.query]

    def at(self, places: NDArray[np.int64]) -> Answers:
        """The answers to some of the questions."""
        return Answers(**{name: array[places] for name, array in self.parts().items()})

    def parts(self) -> dict[str, NDArray[np.float32]]:
        """Those that there are, by the names of the outputs."""
        return {name: array for name, array in self._asdict().items() if array is not None}


def sample_rows(dim: int) -> NDArray[np.float32]:
    """The vectors of the bundled sample, (T, D) float32, or random unit vectors for models of another width."""
    vectors = sample().vectors
    if vectors.shape[1] == dim:
        return np.asarray(vectors, np.float32)
    rows = np.random.default_rng(0).standard_normal((1024, dim)).astype(np.float32)
    return l2_normalize(rows)


def questions_for(
    shape: tuple[int | None, ...], longest: int | None, rows: NDArray[np.float32], contexts: int
) -> Questions:
    """Cut contexts from rows, spread evenly over them; past the last row they go on at the first.

    Args:
        shape: Of the function's input: (1, N, D) or (1, None, D) for contexts, (1, D) for one vector a call.
        longest: Most vectors of a context where N is None, and of a stream; None where there is no end.
        rows: (T, D).
        contexts: How many contexts where N is fixed.
    """
    if len(shape) == 2:
        lengths = np.arange(1, min(_STREAMED, longest or _STREAMED) + 1)
        starts = np.zeros_like(lengths)
    else:
        fitting = [length for length in _FLEXIBLE if longest is None or length <= longest]
        lengths = np.array(fitting if shape[1] is None else [shape[1]] * contexts)
        starts = np.linspace(0, len(rows), len(lengths), endpoint=False, dtype=np.int64)
    places = (starts[:, None] + np.arange(lengths.max())) % len(rows)  # (P, N)
    return Questions(rows[places], lengths, (starts + lengths) % len(rows))


def answers_of_model(model: LatentVectorModel, questions: Questions) -> Answers:
    """What the model says in torch."""
    given = questions.context, questions.lengths
    query = None if model.space is None else model.query(*given)
    with torch.no_grad():
        device, dtype = place_of(model)
        context = torch.from_numpy(questions.context).to(device)
        if model.space is not None:
            context = model.space(context)
        deltas = answering(model)(context.to(dtype), torch.from_numpy(questions.lengths).to(device))
        return Answers(model.predict(*given), deltas.float().cpu().numpy(), query)


def answers_of_program(program: Interpreter, function: str, questions: Questions) -> Answers:
    """What a function of a package says: context by context, or vector by vector through its state."""
    state = program.new_state(function)
    results = []
    for context, length in zip(questions.context, questions.lengths, strict=True):
        if "vector" in program.input_shapes(function):
            results.append(program.run(function, {"vector": context[None, length - 1]}, state))
        else:
            results.append(program.run(function, {"context": context[None, :length]}))
    return Answers(**{name: np.concatenate([result[name] for result in results]) for name in results[0]})

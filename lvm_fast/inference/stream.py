"""Streams: a model that reads one vector a call and keeps its hidden states in between."""

from __future__ import annotations

import copy
from typing import Any, NoReturn, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.numbers import plain, whole_number
from ..models.answering import place_of, snapshot
from ..models.as_built import changes_since_made
from ..ops.rowwise import reconstruct
from .kept import can_read, content_of, kept
from .packed import can_pack, check_precision, packed
from .predictor import check_floats


class Stream:
    """Predicts the next vector after each vector pushed, at the cost of one step; made by ``model.stream()``.

    After n pushes the answer is that of ``model.predict`` for those n vectors as one context. The stream holds a copy
    of the weights, taken when it was made: later changes of the model do not reach it. One stream serves one thread
    at a time; several streams of one model share their weights. A copy (``copy.copy``) goes on by itself from where the
    stream is; a stream cannot be pickled.

    Args:
        model: A model that streams.
        batch_size: Sequences B read side by side.
        weights: "float32", "bfloat16" or "int8", as in ``model.predict``.

    Attributes:
        pushed: How many vectors of each sequence it has read.

    Raises:
        ValueError: The model is of a kind that cannot stream, or was changed where its steps would not notice it; or an
            argument does not fit.
    """

    def __init__(self, model: Any, batch_size: int = 1, weights: str = "float32") -> None:
        check_precision("stream", weights)
        self.batch_size, self.weights, self.input_dim = _checked_size(batch_size), weights, int(model.input_dim)
        if not model.can_stream():
            expected = "a model whose steps (`advance`) belong to its `forward`"
            raise ValueError(f"stream: a {type(model).__name__} cannot stream; expected {expected}")
        self._model_type, self.pushed = str(model.model_type), 0
        self._steps: _Steps
        if can_pack("stream", model, weights):
            steps = packed(model, weights).steps(self.batch_size)
            self._steps = steps if model.space is None else _StepsInSpace(steps, copy.deepcopy(model.space))
        else:
            _check_steps(model)
            self._steps = _ModelSteps(model, self.batch_size)

    def __repr__(self) -> str:
        return (
            f"Stream({self._model_type}: {self.batch_size} x {self.input_dim}, {self.weights} weights, "
            f"{self.pushed:,} vectors read)"
        )

    def __copy__(self) -> Stream:
        copied = Stream.__new__(Stream)
        copied.__dict__.update(self.__dict__)
        copied._steps = self._steps.copy()
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Stream:
        return copy.copy(self)

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Stream cannot be pickled: pickle the model, make a stream of it there (model.stream()) and push again"
        )

    def reset(self, rows: Any = None) -> None:
        """Forget every vector pushed so far.

        Args:
            rows: The sequences that forget, and begin anew: different numbers from 0 to B - 1; all unless given.

        Raises:
            ValueError: `rows` are other numbers, or given for a model that does not run on packed weights.
        """
        some = self._checked_rows("reset", rows)
        self._steps.reset(some)
        if some is None:
            self.pushed = 0

    @overload
    def push(self, vector: Tensor, rows: Any = None) -> Tensor: ...
    @overload
    def push(self, vector: NDArray[Any], rows: Any = None) -> NDArray[np.float32]: ...

    def push(self, vector: Tensor | NDArray[Any], rows: Any = None) -> Tensor | NDArray[np.float32]:
        """Read the next vector of every sequence and predict the one after it.

        With `rows` only some sequences go on, and the others wait. So a server keeps one stream of B places: who comes
        takes a free one, which is `reset`, and pushes with all who have a vector at that time.

        Args:
            vector: (B, D), or (D,) if B is 1: a tensor or a numpy array of any float dtype. (R, D) for R `rows`.
            rows: The sequences that go on: R different numbers from 0 to B - 1; all unless given.

        Returns:
            Unit next vectors (B, D) or (R, D), float32, a tensor (on the vector's device) or a numpy array as the
            vector was.

        Raises:
            ValueError: An argument does not fit, or the vector holds NaN or infinity; the stream is then as it was
                before. Or the prediction is NaN or infinite: the stream may then have read the vector, and needs a
                `reset`. Or `rows` are given for a model that does not run on packed weights.
        """
        some = self._checked_rows("push", rows)
        vectors = self._checked(vector, self.batch_size if some is None else len(some))
        predicted = self._steps.advance(vectors[None], some)
        if predicted is None:
            raise self._fault_of(vectors)
        self.pushed += 1
        return torch.from_numpy(predicted).to(vector.device) if isinstance(vector, Tensor) else predicted

    def _checked_rows(self, where: str, rows: Any) -> list[int] | None:
        if rows is None:
            return None
        if isinstance(self._steps, _ModelSteps):
            raise ValueError(f"{where}: rows: expected none for a model that does not run on packed weights")
        most = self.batch_size - 1
        expected = f"different whole numbers from 0 to {most}, at least one"
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or not len(numbers):
            raise ValueError(f"{where}: rows: expected {expected}, got {plain(rows)!r}")
        places = [int(number) for number in numbers]
        for position, place in enumerate(places):
            if not 0 <= place <= most or place in places[:position]:
                raise ValueError(f"{where}: rows[{position}] is {place}; expected {expected}")
        return places

    def _checked(self, vector: Any, count: int) -> NDArray[np.float32]:
        check_floats("push", "vector", vector)
        expected = (count, self.input_dim)
        if tuple(vector.shape) != expected and (count > 1 or tuple(vector.shape) != expected[1:]):
            raise ValueError(f"push: vector has shape {tuple(vector.shape)}; expected {expected}")
        if isinstance(vector, Tensor):
            vector = vector.detach().to("cpu", torch.float32).numpy()
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            return np.ascontiguousarray(vector, np.float32).reshape(expected)

    def _fault_of(self, rows: NDArray[np.float32]) -> ValueError:
        finite = np.isfinite(rows).all(axis=1)
        if finite.all():
            return ValueError("push: the prediction is NaN or infinite; expected finite weights and moderate vectors")
        return ValueError(f"push: vector[{int(np.argmin(finite))}] holds NaN or Inf; expected finite values")


def _checked_size(batch_size: Any) -> int:
    try:
        return whole_number(batch_size, "batch_size", least=1)
    except ValueError:
        expected = "an integer of at least 1"
        raise ValueError(f"stream: batch_size = {plain(batch_size)!r}; expected {expected}") from None


def _check_steps(model: Any) -> None:
    """Raise ValueError where a model was changed in a part that its steps do not run by calling it."""
    for change in changes_since_made(model):
        if not change.module or issubclass(change.kind, model.stepped_by_hand):
            raise ValueError(
                f"stream: {change.words}, which the steps of a {type(model).__name__} pass by; {change.cure}"
            )


class _Steps(Protocol):
    def reset(self, rows: list[int] | None) -> None: ...
    def copy(self) -> Any: ...
    def advance(self, context: NDArray[np.float32], rows: list[int] | None) -> NDArray[np.float32] | None: ...


class _StepsInSpace:
    """Steps that read and predict in a space, for vectors of the encoder's own."""

    def __init__(self, steps: _Steps, space: Any) -> None:
        self._steps, self._space = steps, space

    def reset(self, rows: list[int] | None) -> None:
        self._steps.reset(rows)

    def copy(self) -> _StepsInSpace:
        return _StepsInSpace(self._steps.copy(), self._space)

    @torch.no_grad()
    def advance(self, context: NDArray[np.float32], rows: list[int] | None) -> NDArray[np.float32] | None:
        inside = self._space(torch.from_numpy(context)).float()
        predicted = self._steps.advance(inside.numpy(), rows)
        if predicted is None:
            return None
        outside: NDArray[np.float32] = self._space.back(torch.from_numpy(predicted)).float().numpy()
        return outside


class _ModelSteps:
    """A model's own steps in plain torch, on a copy of it; the streams of one model share the copies of its weights."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = _copied(model)
        self._batch_size = batch_size
        self.reset(None)

    def copy(self) -> _ModelSteps:
        copied = copy.copy(self)
        copied._state = copy.deepcopy(self._state)
        return copied

    @torch.no_grad()
    def reset(self, rows: list[int] | None) -> None:
        self._state = self._model.start_steps(self._batch_size)

    @torch.no_grad()
    def advance(self, context: NDArray[np.float32], rows: list[int] | None) -> NDArray[np.float32] | None:
        if not np.isfinite(context).all():
            return None
        device, dtype = place_of(self._model)
        space = self._model.space
        current = torch.from_numpy(context[-1]).to(device)  # (B, D)
        if space is not None:
            current = space(current)
        delta, moved = self._model.advance(self._state, current.to(dtype))
        if not delta.isfinite().all():
            return None
        exact = torch.promote_types(dtype, torch.float32)
        predicted = reconstruct(current.to(exact), delta.to(exact))
        self._state = moved
        outside = predicted if space is None else self._model.to_vectors(predicted)
        array: NDArray[np.float32] = outside.float().cpu().numpy()
        return array


def _copied(model: Any) -> Any:
    """Return a copy of a model in evaluation mode that no later change reaches, with weights that its streams share."""
    weights = list(model.parameters())

    def make() -> list[Tensor]:
        return [nn.Parameter(weight.detach().clone(), requires_grad=False) for weight in weights]

    copies = kept(model, "streamed", content_of(weights), make) if can_read(weights) else make()
    shared = {id(weight): copied for weight, copied in zip(weights, copies, strict=True)}

    def copy_tensor(tensor: Tensor) -> Tensor:
        return shared[id(tensor)] if id(tensor) in shared else tensor.detach().clone()

    return snapshot(model, copy_tensor)

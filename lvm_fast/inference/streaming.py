"""Streams: a model that reads one vector a call and keeps its hidden states in between."""

from __future__ import annotations

import copy
from typing import Any, Protocol, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .._core import MemoryGruStream
from ..kernels import reconstruct
from .kept import kept
from .packed import can_pack, check_precision, packed


class Stream:
    """The next vector after each vector pushed, at the cost of one step; made by ``model.stream()``.

    After n pushes the answer is that of ``model.predict`` for those n vectors as one context. The stream holds a copy
    of the weights, taken when it was made: later changes of the model do not reach it. One stream serves one thread
    at a time; several streams of one model share their weights.

    Args:
        model: A model that streams.
        batch_size: Sequences B read side by side.
        weights: "float32", "bfloat16" or "int8", as in ``model.predict``.

    Raises:
        ValueError: The model is of a kind that cannot stream, or an argument does not fit.
    """

    def __init__(self, model: Any, batch_size: int = 1, weights: str = "float32") -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise ValueError(f"stream: batch_size = {batch_size!r}; expected an integer of at least 1")
        check_precision("stream", weights)
        if not model.can_stream():
            expected = "a model whose steps (`advance`) belong to its `forward`"
            raise ValueError(f"stream: a {type(model).__name__} cannot stream; expected {expected}")
        self.batch_size, self.weights, self.input_dim = batch_size, weights, int(model.input_dim)
        self._steps: _Steps
        if can_pack("stream", model, weights):
            self._steps = MemoryGruStream(packed(model, weights), batch_size)
        else:
            self._steps = _ModelSteps(model, batch_size)

    def reset(self) -> None:
        """Forget every vector pushed so far."""
        self._steps.reset()

    @overload
    def push(self, vector: Tensor) -> Tensor: ...
    @overload
    def push(self, vector: NDArray[Any]) -> NDArray[np.float32]: ...

    def push(self, vector: Tensor | NDArray[Any]) -> Tensor | NDArray[np.float32]:
        """Read the next vector of every sequence and predict the one after it.

        Args:
            vector: (B, D), or (D,) if B is 1: a tensor or a numpy array of any float dtype.

        Returns:
            Unit next vectors (B, D), float32, a tensor (on the vector's device) or a numpy array as the vector was.

        Raises:
            ValueError: The vector does not fit, or holds NaN or infinity; the stream is then as it was before. Or the
                prediction is NaN or infinite: the stream may then have read the vector, and needs a `reset`.
        """
        rows = self._checked(vector)
        predicted = self._steps.advance(rows[None])
        if predicted is None:
            raise self._fault_of(rows)
        return torch.from_numpy(predicted).to(vector.device) if isinstance(vector, Tensor) else predicted

    def _checked(self, vector: Any) -> NDArray[np.float32]:
        if isinstance(vector, Tensor):
            is_float = vector.is_floating_point()
        elif isinstance(vector, np.ndarray):
            is_float = vector.dtype.kind == "f"
        else:
            raise ValueError(f"push: vector is a {type(vector).__name__}; expected a tensor or a numpy array")
        if not is_float:
            raise ValueError(f"push: vector has dtype {vector.dtype}; expected a float dtype")
        expected = (self.batch_size, self.input_dim)
        if tuple(vector.shape) != expected and (self.batch_size > 1 or tuple(vector.shape) != expected[1:]):
            raise ValueError(f"push: vector has shape {tuple(vector.shape)}; expected {expected}")
        if isinstance(vector, Tensor):
            vector = vector.detach().to("cpu", torch.float32).numpy()
        return np.ascontiguousarray(vector, np.float32).reshape(expected)

    def _fault_of(self, rows: NDArray[np.float32]) -> ValueError:
        finite = np.isfinite(rows).all(axis=1)
        if finite.all():
            return ValueError("push: the prediction is NaN or infinite; expected finite weights and moderate vectors")
        return ValueError(f"push: vector[{int(np.argmin(finite))}] holds NaN or Inf; expected finite values")


class _Steps(Protocol):
    def reset(self) -> None: ...
    def advance(self, context: NDArray[np.float32]) -> NDArray[np.float32] | None: ...


class _ModelSteps:
    """A model's own steps in plain torch, on a copy of it that its streams share."""

    def __init__(self, model: Any, batch_size: int) -> None:
        self._model = kept(model, "streamed", lambda: copy.deepcopy(model).eval())
        self._batch_size = batch_size
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        self._state = self._model.start_steps(self._batch_size)

    @torch.no_grad()
    def advance(self, context: NDArray[np.float32]) -> NDArray[np.float32] | None:
        if not np.isfinite(context).all():
            return None
        current = torch.from_numpy(context[-1]).to(next(self._model.parameters()))  # (B, D)
        delta, moved = self._model.advance(self._state, current)
        if not delta.isfinite().all():
            return None
        predicted: NDArray[np.float32] = reconstruct(current, delta).float().cpu().numpy()
        self._state = moved
        return predicted

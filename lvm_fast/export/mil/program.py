"""Builds the functions that the MIL programs of all model types share, with reconstruction and normalisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...models.base import LatentVectorModel
from ..coremltools_compat import Function, ct, get_new_symbol, mb, types
from ..state_layout import laid_out
from .layers import Arrays, Layers, Variable, cast, first_numbers, last_row, norm, padded, unit
from .space import FLOAT32_CONSTANTS, Float64Array, SpaceLayers, space_constants

_ONE_MORE = [0, 0, 0, 1]  # number at the end of each row of a matrix
Model = TypeVar("Model", bound=LatentVectorModel)


class ProgramOptions(NamedTuple):
    """How a model becomes a program.

    Attributes:
        precision: "float16" or "float32", the precision of constants and arithmetic. Inputs, outputs and the final
            reconstruction are always float32.
        target: The coremltools deployment target.
        compression: How the matrices of products are stored: None, "int8", "palette6" or "palette4".
        scope: A prefix for the names of its constants, to tell them from another model's in the same package.
    """

    precision: str
    target: Any
    compression: str | None = None
    scope: str = ""


class ModelProgram(ABC, Generic[Model]):
    """Builds the MIL functions of one model from one set of constants.

    A model type is a subclass with `raw_delta`, and, where it streams, `state_shapes` and `push`.

    Args:
        model: The trained model.
        options: How to write it.

    Raises:
        ValueError: A constant is too large for the precision.
    """

    float32_constants: ClassVar[frozenset[str]] = frozenset()  # names; float32 whatever the precision, as a space's
    cannot_stream: ClassVar[str | None] = None  # why the model type has no `step`; None where it has one

    def __init__(self, model: Model, options: ProgramOptions) -> None:
        self.config = model.config
        self.dim = model.input_dim
        folded = {name: array for name, array in self.fold(model).items() if not name.startswith("space.")}
        folded |= space_constants(model, self.key_adjoint(model))
        in_float32 = folded.keys() & (FLOAT32_CONSTANTS | self.float32_constants)
        self.layers = Layers(folded, options.precision, options.compression, options.scope, in_float32)
        self.space = None if model.space is None else SpaceLayers(self.layers)
        self._searches_vectors = model.searches_vectors
        self._is_corrected = model.hubness is not None
        self.target = options.target

    def fold(self, model: Model) -> dict[str, NDArray[np.float32]]:
        """Return the constants of the program: the model's tensors by name, with constant parts computed beforehand.

        Entries of the model's space are ignored: `space_constants` makes those.
        """
        return arrays(model.state_dict())

    def key_adjoint(self, model: Model) -> Float64Array | None:
        """Return the map from a query among adapted keys to one among plain keys, (D, D) for row vectors.

        Returns:
            None where the model does not adapt its keys.
        """
        return None

    def constants(self, context_length: int | None) -> Arrays:
        """Return the constants by name.

        Args:
            context_length: Of the function that uses them; None for any length and for ``step``.
        """
        return self.layers.constants

    def float32_names(self, context_length: int | None) -> frozenset[str]:
        """Return the names of those `constants` that are float32 whatever the precision."""
        return self.layers.float32_names

    @abstractmethod
    def raw_delta(self, context: Variable) -> Variable:
        """Compute the raw delta after a context, (B, N, D) -> (B, D), in the precision of the layers or in float32."""

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the states as `push` reads them, by name; float16, zeros at first."""
        raise NotImplementedError

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """Compute the raw delta after one more vector (1, D), and the new states; see `raw_delta`."""
        raise NotImplementedError

    def predict(self, context_length: int | None, longest: int = 0, batch: int = 1) -> Function:
        """Build ``context`` (B, N, D) -> ``next_vector`` (B, D) and ``delta`` (B, D); in a space ``query`` (B, K), too.

        Args:
            context_length: N; None for any number from 1 to `longest`.
            longest: The largest N where any will do.
            batch: Contexts B side by side.
        """
        steps = get_new_symbol() if context_length is None else context_length
        with self._function(context=mb.placeholder((batch, steps, self.dim), types.fp32)) as function:
            context = self._into_space(function.inputs["context"])
            function.set_outputs(self._outputs(last_row(context), self.raw_delta(context)))
        if context_length is None:
            any_length = ct.RangeDim(lower_bound=1, upper_bound=longest, default=longest)
            function.set_input_types((ct.TensorType(name="context", shape=(batch, any_length, self.dim)),))
        return function

    def step(self) -> Function:
        """Build ``vector`` (1, D) -> the outputs of `predict`, with the states of `push`, float16, as `laid_out`."""
        shapes = self.state_shapes()
        states = {name: mb.state_tensor_placeholder(laid_out(shape), types.fp16) for name, shape in shapes.items()}
        with self._function(vector=mb.placeholder((1, self.dim), types.fp32), **states) as function:
            given, *kept = function.inputs.values()
            vector = self._into_space(given)
            before = [mb.read_state(input=state) for state in kept]
            own = [first_numbers(value, shape[-1]) for value, shape in zip(before, shapes.values(), strict=True)]
            raw, moved = self.push(vector, [self.layers.to_precision(value) for value in own])
            for state, was, value in zip(kept, before, moved, strict=True):
                mb.coreml_update_state(state=state, value=padded(cast(value, "float16"), was.shape[-1]))
            function.set_outputs(self._outputs(vector, raw))
        return function

    def _function(self, **inputs: Any) -> Function:
        mb.name_count.clear()  # numbered names start afresh in each function
        return Function(inputs, opset_version=self.target)

    def _into_space(self, vectors: Variable) -> Variable:
        """Map the encoder's vectors (..., D) into the model's space, where it has one."""
        return vectors if self.space is None else self.space.into(vectors)

    def _outputs(self, current: Variable, raw: Variable) -> list[Variable]:
        """Compute the outputs from the last vector (B, D) and the raw delta (B, D)."""
        delta = unit(raw) if self.config["normalize_delta"] else cast(raw, "float32")
        moved = mb.add(x=current, y=delta)
        predicted = mb.real_div(x=moved, y=mb.add(x=norm(moved), y=np.float32(1e-8)))
        delta = mb.identity(x=delta, name="delta")
        if self.space is None:
            return [mb.identity(x=predicted, name="next_vector"), delta]
        outside = self.space.back(predicted)
        query = outside if self._searches_vectors else predicted
        if self._is_corrected:
            query = _corrected(query)
        return [mb.identity(x=outside, name="next_vector"), delta, mb.identity(x=query, name="query")]


def _corrected(query: Variable) -> Variable:
    """Return queries (B, D) as they meet keys that are corrected for hubness, (B, D + 2); see models/hubness.py."""
    shrink = np.float32(0.5**0.5)
    with_one = mb.pad(x=mb.mul(x=query, y=shrink), pad=_ONE_MORE, mode="constant", constant_val=shrink)
    return mb.pad(x=with_one, pad=_ONE_MORE, mode="constant", constant_val=np.float32(0))


def arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Return tensors as numpy arrays, float32."""
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}

"""What the MIL programs of all model types have in common: their functions, reconstruction and normalisation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ...models.base import LatentVectorModel
from ..coremltools_compat import Function, ct, get_new_symbol, mb, types
from .layers import Arrays, Layers, Variable, cast, last_row, norm, unit
from .space import WIDE, SpaceLayers, Wide, space_constants

Model = TypeVar("Model", bound=LatentVectorModel)


class Form(NamedTuple):
    """How a model becomes a program.

    Attributes:
        precision: "float16" or "float32", what the functions compute in; inputs, outputs and the final reconstruction
            are float32 always.
        target: The coremltools deployment target.
        compression: How the matrices of products are stored: None, "int8", "palette6" or "palette4".
        scope: What comes before the names of its constants, to tell them from another model's in the same package.
    """

    precision: str
    target: Any
    compression: str | None = None
    scope: str = ""


class ModelProgram(ABC, Generic[Model]):
    """Builds the MIL functions of one model from one set of constants.

    A model type is a subclass with `read`, and, where it streams, `state_shapes` and `push`.

    Args:
        model: The trained model.
        form: How to write it.

    Raises:
        ValueError: A constant is too large for the precision.
    """

    exact: ClassVar[frozenset[str]] = frozenset()  # constants that are float32 whatever the precision, as a space's
    cannot_stream: ClassVar[str | None] = None  # why the model type has no `step`; None where it has one

    def __init__(self, model: Model, form: Form) -> None:
        self.config = model.config
        self.dim = model.input_dim
        folded = {name: array for name, array in self.fold(model).items() if not name.startswith("space.")}
        folded |= space_constants(model, self.pull(model))
        wide = folded.keys() & (WIDE | self.exact)
        self.layers = Layers(folded, form.precision, form.compression, form.scope, wide)
        self.space = None if model.space is None else SpaceLayers(self.layers)
        self._searches_vectors = model.searches_vectors
        self.target = form.target

    def fold(self, model: Model) -> dict[str, NDArray[np.float32]]:
        """The constants of the program: the tensors of the model by name, but for what is worked out beforehand.

        What belongs to its space is left out, whatever is given here.
        """
        return arrays(model.state_dict())

    def pull(self, model: Model) -> Wide | None:
        """What keys make of a query where the model adapts them, (D, D) for row vectors; None where it does not."""
        return None

    def constants(self, context_length: int | None) -> Arrays:
        """The constants of the function for contexts of this length, None for any length and for `step`, by name."""
        return self.layers.constants

    def wide(self, context_length: int | None) -> frozenset[str]:
        """The names of those `constants` that are float32 whatever the precision."""
        return self.layers.wide

    @abstractmethod
    def read(self, context: Variable) -> Variable:
        """The raw delta after a context, (B, N, D) -> (B, D), in the precision of the layers or in float32."""

    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """The states that `push` keeps between calls, by name; float16, zeros at first."""
        raise NotImplementedError

    def push(self, vector: Variable, states: Sequence[Variable]) -> tuple[Variable, Sequence[Variable]]:
        """The raw delta after one more vector (1, D), and the states after it; see `read`."""
        raise NotImplementedError

    def predict(self, context_length: int | None, longest: int = 0, batch: int = 1) -> Function:
        """``context`` (B, N, D) -> ``next_vector`` (B, D), ``delta`` (B, D), in a space ``query`` (B, D), too.

        Args:
            context_length: N; None for any number from 1 to `longest`.
            longest: The largest N where any will do.
            batch: Contexts B side by side.
        """
        steps = get_new_symbol() if context_length is None else context_length
        with self._function(context=mb.placeholder((batch, steps, self.dim), types.fp32)) as function:
            context = self._mapped(function.inputs["context"])
            function.set_outputs(self._outputs(last_row(context), self.read(context)))
        if context_length is None:
            any_length = ct.RangeDim(lower_bound=1, upper_bound=longest, default=longest)
            function.set_input_types((ct.TensorType(name="context", shape=(batch, any_length, self.dim)),))
        return function

    def step(self) -> Function:
        """``vector`` (1, D) -> what `predict` gives; with the states of `push`, float16."""
        states = {name: mb.state_tensor_placeholder(shape, types.fp16) for name, shape in self.state_shapes().items()}
        with self._function(vector=mb.placeholder((1, self.dim), types.fp32), **states) as function:
            given, *kept = function.inputs.values()
            vector = self._mapped(given)
            raw, moved = self.push(vector, [self.layers.narrow(mb.read_state(input=state)) for state in kept])
            for state, value in zip(kept, moved, strict=True):
                mb.coreml_update_state(state=state, value=cast(value, "float16"))
            function.set_outputs(self._outputs(vector, raw))
        return function

    def _function(self, **inputs: Any) -> Function:
        mb.name_count.clear()  # numbered names start afresh in each function
        return Function(inputs, opset_version=self.target)

    def _mapped(self, vectors: Variable) -> Variable:
        """What the model reads of the encoder's vectors (..., D)."""
        return vectors if self.space is None else self.space.into(vectors)

    def _outputs(self, current: Variable, raw: Variable) -> list[Variable]:
        """From the last vector (B, D) and the raw delta (B, D) to ``next_vector``, ``delta``, in a space ``query``."""
        delta = unit(raw) if self.config["normalize_delta"] else cast(raw, "float32")
        moved = mb.add(x=current, y=delta)
        answer = mb.real_div(x=moved, y=mb.add(x=norm(moved), y=np.float32(1e-8)))
        delta = mb.identity(x=delta, name="delta")
        if self.space is None:
            return [mb.identity(x=answer, name="next_vector"), delta]
        outside = self.space.back(answer)
        query = outside if self._searches_vectors else answer
        return [mb.identity(x=outside, name="next_vector"), delta, mb.identity(x=query, name="query")]


def arrays(tensors: Mapping[str, Tensor]) -> dict[str, NDArray[np.float32]]:
    """Tensors as numpy arrays, float32."""
    return {name: tensor.detach().float().cpu().numpy() for name, tensor in tensors.items()}

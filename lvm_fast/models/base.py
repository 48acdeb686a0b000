"""`LatentVectorModel`: the base of all models, whatever their architecture."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeAlias, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.registry import Registry
from .context import check_context
from .in_space import InSpace
from .saving import save_pretrained
from .streaming import VectorStream

# of a model, contexts, lengths, weights, and whether the answer is in the model's space
Predict: TypeAlias = Callable[[Any, Any, Any, str, bool], "Tensor | NDArray[np.float32]"]
Model = TypeVar("Model", bound="LatentVectorModel")

# What models hand over to the room above: it imports this one, so it is found by name.
INFERENCE: Registry[Any] = Registry(
    "part of inference",
    "lvm_fast.inference",
    {"predict": ".predictor:predict", "stream": ".stream:Stream", "router": ".router:Router"},
)

HUB: Registry[Any] = Registry(
    "part of the hub",
    "lvm_fast.models",
    {"push_to_hub": ".hub:push_to_hub", "from_pretrained": ".hub:from_pretrained"},
)


class LatentVectorModel(InSpace, ABC):
    """Reads a context of vectors and predicts the step (delta) from the last of them to the next vector.

    Attributes:
        model_type: The name in the registry.
        config: JSON-able constructor arguments: ``create_model(model_type, **config)`` builds the same architecture.
        input_dim: Width D of the vectors.
        max_context: The most vectors a context may have; None where there is no end.
        metrics: What is known of its quality on held-out chains; empty if nothing is. "hit1", "hit5" and "hit10" in
            percent, "pool", and "baselines": the same hits, by name, of what needs no training.
        recipe_digest: `recipe_digest` of the recipe it was trained by; None if that is not known.
        space: The map from an encoder's vectors to those that `forward`, `deltas` and `advance` read and predict; None
            where they are the encoder's own. `predict`, `query`, `keys` and streams take the encoder's.
        starts_at_closed_form: Whether it predicts well before it is trained: training then keeps the start unless it
            finds something better, and chooses how much of what was learned counts.
        stepped_by_hand: Classes of submodules that `advance` runs otherwise than by calling them, so that it would pass
            by hooks on them and by replacements.
        packs: Whether the core has a pass of its own for the architecture, on packed weights (`packed`).
    """

    model_type: ClassVar[str]
    starts_at_closed_form: ClassVar[bool] = False
    stepped_by_hand: ClassVar[tuple[type[nn.Module], ...]] = ()
    packs: ClassVar[bool] = False

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.config = config
        self.input_dim: int = config["input_dim"]
        self.max_context: int | None = None
        self.metrics: dict[str, Any] = {}
        self.recipe_digest: str | None = None
        self.register_module("space", None)

    @classmethod
    def from_config(cls: type[Model], config: Mapping[str, Any]) -> Model:
        """Build the architecture of a config, with room for a space where it has one."""
        sizes = {name: value for name, value in config.items() if name != "space"}
        model = cls(**sizes)
        if config.get("space") is not None:
            model._make_room(config["space"])
        return model

    @abstractmethod
    def forward(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict deltas.

        Args:
            context: (B, N, D), right-padded where `lengths` is given.
            lengths: Valid vectors of each row, 1 to N, integers (B,); all N unless given.

        Returns:
            Deltas (B, D): ``l2_normalize(last valid context vector + delta)`` is the predicted next vector.

        Raises:
            ValueError: The context or the lengths do not fit.
        """

    def deltas(self, context: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Predict the delta after every vector of the context in one pass; causal models only.

        Args:
            context: (B, N, D), right-padded where `lengths` is given.
            lengths: Valid vectors of each row, 1 to N, integers (B,); all N unless given.

        Returns:
            Deltas (B, N, D): row n is what `forward` gives for the context up to and with vector n; what stands beyond
            a row's length means nothing.

        Raises:
            ValueError: The model reads its context as a whole, or the context or the lengths do not fit.
        """
        raise ValueError(f"{self.model_type}: deltas: this model is not causal: it has one delta a context")

    @classmethod
    def is_causal(cls) -> bool:
        """Return whether the model has a delta after every position (`deltas`)."""
        return cls.deltas is not LatentVectorModel.deltas

    @classmethod
    def can_stream(cls) -> bool:
        """Return whether the model has steps (`start_steps`, `advance`) that come to what `forward` does."""
        return cls.advance is not LatentVectorModel.advance

    def start_steps(self, batch_size: int) -> Any:
        """Return the state of B sequences before their first vectors, for `advance`; for models that stream."""
        raise NotImplementedError

    def advance(self, state: Any, vector: Tensor) -> tuple[Tensor, Any]:
        """Read one more vector of each sequence; for models that stream.

        Args:
            state: From `start_steps` or the step before; it stays as it is.
            vector: (B, D).

        Returns:
            Deltas (B, D), as `forward` gives them for all vectors so far, and the next state.
        """
        raise NotImplementedError

    def packed(self, precision: str) -> Any:
        """Pack the weights for the core's own pass; for models that pack.

        Args:
            precision: "float32", "bfloat16" or "int8".

        Returns:
            What has ``steps(batch_size)``: the core's stream of B sequences.
        """
        raise NotImplementedError

    def packed_from(self) -> tuple[Hashable, list[Tensor]]:
        """Return the settings and the tensors that the packed form depends on; for models that pack."""
        raise NotImplementedError

    @classmethod
    @abstractmethod
    def config_from_state(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        """Read the sizes from the shapes of a state dict's tensors. Raises ValueError naming a tensor it lacks."""

    @contextmanager
    def deferred_memory_writes(self) -> Iterator[None]:
        """Within the block, forward passes only collect memory writes; `commit_memory` applies them as one.

        A model without a memory has nothing to write.
        """
        yield

    def commit_memory(self) -> None:
        """Apply the collected memory writes, averaged over every context they came from."""

    def waiting_writes(self) -> list[Tensor]:
        """Return the sums that `commit_memory` will average; processes of one model first add them up in place."""
        return []

    @overload
    def predict(self, context: Tensor, lengths: Any = None, weights: str = "float32") -> Tensor: ...
    @overload
    def predict(self, context: NDArray[Any], lengths: Any = None, weights: str = "float32") -> NDArray[np.float32]: ...

    def predict(
        self, context: Tensor | NDArray[Any], lengths: Any = None, weights: str = "float32"
    ) -> Tensor | NDArray[np.float32]:
        """Predict the next vector, without dropout, gradients or memory writes, whatever the model's mode.

        The mode stays as it is, so other threads may predict or train at the same time.

        Args:
            context: (B, N, D), or (N, D) for one context: a tensor or a numpy array of any float dtype, right-padded
                where `lengths` is given.
            lengths: Valid vectors of each row, 1 to N, integers (B,), or one integer for one context; all N unless
                given.
            weights: Precision of the weights: "float32", or for a memory_gru, gru or lstm on the CPU "bfloat16" or
                "int8" (a scale for each row), which are quicker for few contexts. All else stays float32, but that
                int8 weights meet vectors rounded to 15 bits. A trained memory_gru of the reference's sizes, on 24
                contexts of 100 vectors, was off by at most 0.0021 (bfloat16) and 0.0046 (int8) of the unit vector's
                length, a cosine above 0.99998 with the float64 result; under torch's bfloat16 autocast it was off by
                0.0038.

        Returns:
            Unit next vectors (B, D), or (D,) for one context (N, D): float32, a tensor or a numpy array as the context
            was.

        Raises:
            ValueError: The context, the lengths or `weights` do not fit, bfloat16 or int8 weights are asked of a model
                that was changed since it was made (a module swapped or added, a hook), or a vector within its context's
                length, or a prediction, is NaN or infinite.
        """
        predict: Predict = INFERENCE.load("predict")
        return predict(self, context, lengths, weights, False)

    @overload
    def query(self, context: Tensor, lengths: Any = None, weights: str = "float32") -> Tensor: ...
    @overload
    def query(self, context: NDArray[Any], lengths: Any = None, weights: str = "float32") -> NDArray[np.float32]: ...

    def query(
        self, context: Tensor | NDArray[Any], lengths: Any = None, weights: str = "float32"
    ) -> Tensor | NDArray[np.float32]:
        """Predict what to search with among `keys`: the prediction in the model's space.

        Without a space, and where the model `searches_vectors`, it is what `predict` returns. Where keys are corrected
        for hubness (`set_query_bank`) it is two numbers wider, as they are.

        Arguments, results and errors are those of `predict`.
        """
        predict: Predict = INFERENCE.load("predict")
        answer = predict(self, context, lengths, weights, not self.searches_vectors)
        if self.hubness is None:
            return answer
        rows = self.as_query(torch.as_tensor(answer))
        return rows if isinstance(answer, Tensor) else rows.numpy()

    def start_decays(self) -> list[float]:
        """Return the decays that a closed form may start with (`start_at`), for models that start at one."""
        raise NotImplementedError

    def start_at(self, decay: float) -> None:
        """Make a model that starts at a closed form the one of this decay."""
        raise NotImplementedError

    def stream(self, batch_size: int = 1, weights: str = "float32") -> VectorStream:
        """Make a stream: `push` reads one vector of each of B sequences and predicts the next, at the cost of one step.

        The stream holds the hidden states, and a copy of the weights taken now: later changes do not reach it.

        Args:
            batch_size: Sequences B.
            weights: As in `predict`.

        Raises:
            ValueError: The model is of a kind that cannot stream, or an argument does not fit.
        """
        stream: VectorStream = INFERENCE.load("stream")(self, batch_size, weights)
        return stream

    def check_context(self, context: Tensor, lengths: Tensor | None) -> None:
        """Raise ValueError unless the context is (B, N, D), 1 <= N <= `max_context`, and the lengths 1 to N, (B,)."""
        if not torch.compiler.is_compiling():  # shapes are symbols there
            check_context(self.model_type, self.input_dim, context, lengths)
            self.check_length(context.shape[1])

    def check_length(self, length: int) -> None:
        """Raise ValueError if contexts of `length` vectors are longer than the model can read."""
        if self.max_context is not None and length > self.max_context:
            most = f"{self.max_context}, the model's positions"
            raise ValueError(f"{self.model_type}: a context of {length} vectors; expected at most {most}")

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Load weights as torch does; a state dict of other sizes is a ValueError that names the right ones."""
        if strict:
            self._check_sizes(state_dict)
        try:
            return super().load_state_dict(state_dict, strict, assign)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"{self.model_type}: {reason}") from error

    def _check_sizes(self, state: Mapping[str, Any]) -> None:
        sizes = self.config_from_state(state)
        if any(self.config[name] != size for name, size in sizes.items()):
            mine = ", ".join(f"{name}={self.config[name]}" for name in sizes)
            right = ", ".join(f"{name}={size}" for name, size in sizes.items())
            raise ValueError(
                f"{self.model_type}: the model was built with {mine}, the state dict has {right}; "
                f"build it with create_model({self.model_type!r}, {right}), or use load_model"
            )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Save ``model.safetensors``, ``config.json`` and a model card ``README.md`` into `folder`.

        The three files appear together or not at all; files of these names are replaced, others are left alone.
        Forward hooks are not saved, which a warning says.

        Raises:
            ValueError: The model is no longer what its config builds (a module swapped, added or parametrized, an
                attribute changed), so that `load_model` could not give it back; or a metric is not for JSON.
            OSError: The folder cannot be written, or the disk is full.
        """
        save_pretrained(self, folder)

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Upload the files of `save_pretrained` to the Hugging Face hub, in one commit; needs the extra `hub`.

        Args:
            repo_id: "user/name"; the repository is made where it is not there.
            **options: `private`, `token`, `revision` (the branch), `commit_message`, `create_pr`, as the hub's library
                takes them.

        Returns:
            The address of the commit.

        Raises:
            ModuleNotFoundError: huggingface_hub is not installed.
            OSError: The hub refuses, or gives no answer.
            ValueError: As `save_pretrained`.
        """
        address: str = HUB.load("push_to_hub")(self, repo_id, **options)
        return address

    @classmethod
    def from_pretrained(cls: type[Model], name: str | os.PathLike[str], **options: Any) -> Model:
        """Load a model of this class, as `lvm_fast.from_pretrained` does. Raises ValueError for one of another."""
        model: LatentVectorModel = HUB.load("from_pretrained")(name, **options)
        if not isinstance(model, cls):
            kind = type(model).__name__
            raise ValueError(f"from_pretrained: {os.fspath(name)!r} holds a {kind}; expected a {cls.__name__}")
        return model

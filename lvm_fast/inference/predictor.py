"""`predict`: from contexts as a caller has them to the next vectors, in torch or on packed weights."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..models.answering import answering, place_of
from ..models.context import padding
from ..models.recurrence import last_valid
from ..ops.rowwise import reconstruct
from .packed import can_pack, check_precision, packed

_MOST_PACKED = 3  # contexts; more run faster together in torch than one by one on packed weights
_TOGETHER = 8  # contexts of one length that read the weights together


def predict(
    model: Any, context: Tensor | NDArray[Any], lengths: Any, weights: str, in_space: bool
) -> Tensor | NDArray[np.float32]:
    """Predict the next vectors of a model; see `LatentVectorModel.predict`.

    Args:
        in_space: Answer in the model's space, not with the encoder's own vectors.
    """
    check_precision("predict", weights)
    question = asked(model.model_type, model.input_dim, context, lengths)
    contexts, counts = question.contexts, question.lengths
    model.check_context(contexts, counts)
    if model.space is not None:
        with torch.no_grad():
            contexts = model.space(contexts.to(model.space.mean.device))
    is_few = weights != "float32" or len(contexts) <= _MOST_PACKED
    if is_few and can_pack("predict", model, weights):
        predicted = predict_packed(model, contexts.cpu(), counts, weights)
    else:
        predicted = _predict_in_torch(model, contexts, counts)
    if model.space is not None and not in_space:
        with torch.no_grad():
            predicted = model.to_vectors(predicted.to(model.space.mean.device)).float()
    return question.answer(predicted)


def _predict_in_torch(model: Any, contexts: Tensor, counts: Tensor | None) -> Tensor:
    device, dtype = place_of(model)
    rows = contexts.to(device, dtype)  # (B, N, D)
    check_finite(rows, counts)
    if counts is not None:
        rows = rows.masked_fill(padding(rows, counts)[..., None], 0.0)  # NaN there would outlive a mask
    with torch.no_grad():
        delta = answering(model)(rows, counts)  # (B, D)
        if not delta.isfinite().all():
            raise not_finite()
        exact = torch.promote_types(dtype, torch.float32)
        current = last_valid(contexts, counts).to(device, exact)
        predicted: Tensor = reconstruct(current, delta.to(exact)).float()
    return predicted


class Asked(NamedTuple):
    """The contexts of a caller of `predict`, in one form.

    Attributes:
        contexts: (B, N, D).
        lengths: (B,) int64, or None for N.
        is_array: The contexts came as a numpy array.
        is_single: They were one context, (N, D).
    """

    contexts: Tensor
    lengths: Tensor | None
    is_array: bool
    is_single: bool

    def answer(self, predicted: Tensor) -> Tensor | NDArray[np.float32]:
        """Return predictions (B, D) in the form of the question: (D,) for a single context, an array for an array."""
        whole = predicted[0] if self.is_single else predicted
        if not self.is_array:
            return whole.to(self.contexts.device)
        array: NDArray[np.float32] = whole.cpu().numpy()
        return array


def asked(model_type: str, dim: int, context: Any, lengths: Any) -> Asked:
    """Take contexts (B, N, D) or one context (N, D), and integer lengths of any kind, for `check_context`.

    Raises:
        ValueError: They are of another kind, or one context is of another shape.
    """
    given, counts = as_tensor(context), _as_lengths(model_type, lengths)
    is_single = given.ndim == 2
    if is_single:
        if given.shape[1] != dim or not len(given):
            expected = f"(B, N, {dim}), or (N, {dim}) for one context of at least one vector"
            raise ValueError(f"{model_type}: context has shape {tuple(given.shape)}; expected {expected}")
        given = given[None]
        counts = counts[None] if counts is not None and counts.ndim == 0 else counts
    return Asked(given, counts, isinstance(context, np.ndarray), is_single)


def check_floats(where: str, called: str, rows: Any) -> None:
    """Raise ValueError unless rows are a dense tensor or a numpy array, nothing masked, of a float dtype."""
    if isinstance(rows, Tensor):
        if rows.layout != torch.strided or rows.is_nested:
            kind = "nested" if rows.is_nested else str(rows.layout).removeprefix("torch.")
            raise ValueError(f"{where}: {called} is a {kind} tensor; expected a dense one")
        is_float = rows.is_floating_point()
    elif isinstance(rows, np.ndarray):
        if isinstance(rows, np.ma.MaskedArray):
            raise ValueError(f"{where}: {called} is a masked array; expected a plain one (see numpy.ma.filled)")
        is_float = rows.dtype.kind == "f"
    else:
        raise ValueError(f"{where}: {called} is a {type(rows).__name__}; expected a tensor or a numpy array")
    if not is_float:
        raise ValueError(f"{where}: {called} has dtype {rows.dtype}; expected a float dtype")


def as_tensor(context: Any) -> Tensor:
    """Return contexts as a tensor: a numpy array is copied to float32. Raises ValueError as `check_floats`."""
    check_floats("predict", "context", context)
    if isinstance(context, Tensor):
        return context
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
        return torch.from_numpy(np.array(context, np.float32, order="C"))  # torch takes no read-only or reversed arrays


def _as_lengths(model_type: str, lengths: Any) -> Tensor | None:
    if lengths is None:
        return None
    try:
        counts = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ValueError(f"{model_type}: lengths are a {type(lengths).__name__}; expected integers (B,)") from error
    is_whole = not (counts.is_floating_point() or counts.is_complex() or counts.dtype == torch.bool)
    if isinstance(lengths, np.ma.MaskedArray) or counts.layout != torch.strided:
        raise ValueError(f"{model_type}: lengths are masked or sparse; expected plain integers (B,)")
    return counts.to(torch.int64) if is_whole else counts  # which `check_context` refuses


def predict_packed(model: Any, context: Tensor, lengths: Tensor | None, weights: str) -> Tensor:
    """Predict unit next vectors (B, D), float32, for contexts (B, N, D) on the CPU; lengths (B,) or None for N.

    Torch computes nothing here: its threads would go on spinning for milliseconds on the cores that ours need.
    """
    core = packed(model, weights)
    rows = context.detach().to(torch.float32)
    batch, longest, dim = rows.shape
    predicted = np.empty((batch, dim), np.float32)
    together = _TOGETHER if lengths is None else 1
    for first in range(0, batch, together):
        part = rows[first : first + together]  # (b, N, D)
        steps = longest if lengths is None else int(lengths[first])
        stream = core.steps(len(part))
        result = stream.advance(np.ascontiguousarray(part[:, :steps].transpose(0, 1).numpy()))
        if result is None:
            check_finite(rows, lengths)
            raise not_finite()
        predicted[first : first + len(part)] = result
    return torch.from_numpy(predicted)


def not_finite() -> ValueError:
    """Make the error for a prediction that came out as NaN or infinity."""
    return ValueError("predict: a prediction is NaN or infinite; expected finite weights and moderate vectors")


def check_finite(context: Tensor, lengths: Tensor | None) -> None:
    """Raise ValueError, naming the first vector, if a context (B, N, D) holds NaN or infinity within its length."""
    if context.sum().isfinite():  # an eighth of the time of a look at each number
        return
    finite = context.isfinite().all(dim=2)  # (B, N)
    if lengths is not None:
        finite |= padding(context, lengths)
    if not finite.all():
        row, position = (int(i) for i in (~finite).nonzero()[0])
        raise ValueError(f"predict: context[{row}, {position}] holds NaN or Inf; expected finite values")

"""Proof that a Core ML package computes what the model does: `verify_coreml`, on any machine."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.sample import sample
from ..kernels import l2_normalize
from ..models.base import LatentVectorModel

if TYPE_CHECKING:
    from .mil_interpreter import Array, SavedProgram

# what rounding explains in a unit vector of the reference's width; measured 1.5e-4 and 8e-8, at 1 to 1,000 steps
_TOLERANCES = {"float16": 5e-4, "float32": 1e-6}
_WIDTH = 768
_STREAMED = 32  # vectors pushed through `step`


@dataclass(frozen=True)
class FunctionCheck:
    """How one function of a package compares with the model.

    Attributes:
        name: The function.
        predictions: How many predictions were compared.
        max_abs_error: The largest difference of any number of ``next_vector`` or ``delta``.
        min_cosine: The smallest cosine between the package's and the model's ``next_vector``.
        tolerance: The largest error that rounding explains.
        wrong_weights: A sentence on each stored constant that is not, bit for bit, the model's.
    """

    name: str
    predictions: int
    max_abs_error: float
    min_cosine: float
    tolerance: float
    wrong_weights: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.max_abs_error <= self.tolerance and not self.wrong_weights


@dataclass(frozen=True)
class Verification:
    """What `verify_coreml` found, function by function."""

    functions: tuple[FunctionCheck, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.functions)

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-able values."""
        return {
            "passed": self.passed,
            "functions": [asdict(check) | {"passed": check.passed} for check in self.functions],
        }

    def to_text(self) -> str:
        """A line a function, and a line for each wrong weight."""
        lines: list[str] = []
        for check in self.functions:
            verdict = "equal" if check.passed else "DIFFERENT"
            error = f"max error {check.max_abs_error:.1e} (tolerance {check.tolerance:.0e})"
            lines.append(
                f"{check.name:<14} {verdict:<10} {error}, min cosine {check.min_cosine:.6f}, "
                f"{check.predictions} predictions"
            )
            lines.extend(f"    {sentence}" for sentence in check.wrong_weights)
        return "\n".join(lines)


def verify_coreml(
    path: str | os.PathLike[str],
    model: LatentVectorModel,
    vectors: NDArray[np.float32] | None = None,
    contexts: int = 2,
) -> Verification:
    """Compare a saved package with the model it should hold.

    Every function runs, in a numpy interpreter of the saved program, on real contexts; its outputs are compared with
    the model's in torch. Every stored weight is compared too, bit for bit, since a tolerance on outputs could hide a
    single wrong one.

    Args:
        path: The ``.mlpackage``.
        model: The model it was exported from.
        vectors: Rows to cut contexts from, (T, D) float32; the bundled sample unless given, or random unit vectors
            where the model's width is another than the sample's.
        contexts: How many contexts each ``predict`` function runs on.

    Returns:
        The findings; ``.passed`` says whether everything agrees.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: It is not a package that lvm_fast exported, it holds another type or width of model, or an
            operation that the interpreter does not know.
        ImportError: coremltools is not installed.
    """
    from .mil_interpreter import SavedProgram
    from .mil_layers import mil_name
    from .programs import build_program
    from .toolkit import ct

    saved = SavedProgram(path)
    precision = _check_origin(path, saved.spec.description, model)
    arrays = build_program(model, precision, ct.target.iOS18).arrays
    expected = {mil_name(name): array.astype(precision) for name, array in arrays.items()}
    rows = _sample_rows(model.input_dim) if vectors is None else np.asarray(vectors, np.float32)
    checks = []
    for name in saved.functions:
        computed, wanted = _outputs(saved, name, model, rows, contexts)  # (P, 2D) each
        dim = model.input_dim
        checks.append(
            FunctionCheck(
                name=name,
                predictions=len(computed),
                max_abs_error=float(np.abs(computed - wanted).max()),
                min_cosine=float((computed[:, :dim] * wanted[:, :dim]).sum(axis=1).min()),  # of unit vectors
                tolerance=_tolerance("float16" if saved.new_state(name) else precision, dim),  # states are float16
                wrong_weights=tuple(_wrong_weights(saved.weights(name), expected)),
            )
        )
    return Verification(tuple(checks))


def _check_origin(path: str | os.PathLike[str], description: Any, model: LatentVectorModel) -> str:
    """The precision of a package of ours that holds this kind of model; ValueError for any other."""
    facts = description.metadata.userDefined
    if "lvm_fast.model_type" not in facts:
        raise ValueError(f"verify_coreml: {path} was not exported by lvm_fast")
    found = (facts["lvm_fast.model_type"], json.loads(facts["lvm_fast.config"])["input_dim"])
    if found != (model.model_type, model.input_dim):
        raise ValueError(
            f"verify_coreml: {path} holds a {found[0]} of width {found[1]}; "
            f"the model is a {model.model_type} of width {model.input_dim}"
        )
    return str(facts["lvm_fast.precision"])


def _tolerance(precision: str, dim: int) -> float:
    """The numbers of a unit vector, and their rounding errors with them, grow as it gets shorter."""
    return _TOLERANCES[precision] * math.sqrt(_WIDTH / dim)


def _sample_rows(dim: int) -> NDArray[np.float32]:
    vectors = sample().vectors
    if vectors.shape[1] == dim:
        return np.asarray(vectors, np.float32)
    rows = np.random.default_rng(0).standard_normal((1024, dim)).astype(np.float32)
    return l2_normalize(rows)


def _outputs(
    saved: SavedProgram, name: str, model: LatentVectorModel, rows: NDArray[np.float32], contexts: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the package and the model compute: ``next_vector`` beside ``delta``, (P, 2D) each."""
    shapes = saved.input_shapes(name)
    if "vector" in shapes:  # one vector a call, so the model sees every beginning of one context
        context = _cut(rows, _STREAMED, 1)  # (1, P, D)
        state = saved.new_state(name)
        results = [saved.run(name, {"vector": vector[None]}, state) for vector in context[0]]
        context, lengths = np.repeat(context, _STREAMED, axis=0), np.arange(1, _STREAMED + 1)
    else:
        context, lengths = _cut(rows, shapes["context"][1], contexts), None  # (P, N, D)
        results = [saved.run(name, {"context": window[None]}) for window in context]
    computed = np.concatenate([np.hstack((result["next_vector"], result["delta"])) for result in results])
    return computed, np.hstack((model.predict(context, lengths), _deltas(model, context, lengths)))


def _cut(rows: NDArray[np.float32], length: int, count: int) -> NDArray[np.float32]:
    """Contexts spread evenly over the rows, (count, length, D); they start again at row 0 past the end."""
    starts = np.linspace(0, len(rows), count, endpoint=False, dtype=np.int64)
    contexts: NDArray[np.float32] = rows[(starts[:, None] + np.arange(length)) % len(rows)]
    return contexts


def _deltas(
    model: LatentVectorModel, context: NDArray[np.float32], lengths: NDArray[np.int64] | None
) -> NDArray[np.float32]:
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            place = next(model.parameters())
            counts = None if lengths is None else torch.from_numpy(lengths).to(place.device)
            deltas: NDArray[np.float32] = model(torch.from_numpy(context).to(place), counts).float().cpu().numpy()
            return deltas
    finally:
        model.train(was_training)


def _wrong_weights(stored: Mapping[str, Array], expected: Mapping[str, Array]) -> Iterator[str]:
    for name in sorted(stored.keys() | expected.keys()):
        if name not in expected:
            yield f"{name} is no constant of the model"
        elif name not in stored:
            yield f"{name} is missing"
        elif (stored[name].dtype, stored[name].shape) != (expected[name].dtype, expected[name].shape):
            kinds = [f"{array.dtype} {array.shape}" for array in (stored[name], expected[name])]
            yield f"{name} is {kinds[0]}; expected {kinds[1]}"
        elif not np.array_equal(stored[name], expected[name]):
            wrong = int((stored[name] != expected[name]).sum())
            yield f"{name} differs in {wrong:,} of {expected[name].size:,} numbers"

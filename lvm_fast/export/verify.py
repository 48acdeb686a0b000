"""Proof that a Core ML package computes what the model does: `verify_coreml`, on any machine."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..models.base import LatentVectorModel
from ..scoring import VectorBank
from .findings import FunctionCheck, Verification
from .questions import Answers, answers_of_model, answers_of_program, questions_for, sample_rows

# what rounding explains in a unit vector of the reference's width; measured 1.5e-4 and 8e-8, at 1 to 1,000 steps
_TOLERANCES = {"float16": 5e-4, "float32": 1e-6}
_WIDTH = 768


def verify_coreml(
    path: str | os.PathLike[str],
    model: LatentVectorModel,
    vectors: NDArray[np.float32] | None = None,
    contexts: int = 2,
) -> Verification:
    """Compare a saved package with the model it should hold.

    Every function runs, in a numpy interpreter of the saved program, on real contexts; its outputs are compared with
    the model's in torch. Every stored weight is compared too, since a tolerance on outputs could hide a single wrong
    one: bit for bit, or, where it is compressed, by the rounding that its bits allow. A program with compressed
    weights runs twice: as it is, and with the model's own weights in their place, which is held to the tolerance.

    Args:
        path: The ``.mlpackage``.
        model: The model it was exported from.
        vectors: Rows to cut contexts from, (T, D) float32; the bundled sample unless given, or random unit vectors
            where the model's width is another than the sample's.
        contexts: How many contexts each ``predict_N`` function runs on.

    Returns:
        The findings; ``.passed`` says whether everything agrees.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: It is not a package that lvm_fast exported, it holds another type or width of model, or an
            operation that the interpreter does not know.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    from .constants import wrong_constants
    from .mil_constants import mil_name
    from .mil_interpreter import SavedProgram
    from .programs import build_program
    from .toolkit import ct

    saved = SavedProgram(path)
    facts = _facts(path, saved.spec.description, model)
    precision, longest = facts["lvm_fast.precision"], json.loads(facts["lvm_fast.flexible"])
    arrays = build_program(model, precision, None, ct.target.iOS18).layers.arrays
    exact = {mil_name(name): array for name, array in arrays.items()}
    uncompressed = saved.with_constants({name: array.astype(precision) for name, array in exact.items()})
    rows = sample_rows(model.input_dim) if vectors is None else np.asarray(vectors, np.float32)
    pool = VectorBank(rows)
    checks = []
    for name in saved.functions:
        (shape,) = saved.input_shapes(name).values()
        questions = questions_for(shape, longest, rows, contexts)
        wanted, got = answers_of_model(model, questions), answers_of_program(saved, name, questions)
        program_error = _largest_error(got, wanted)
        if uncompressed is not saved:
            program_error = _largest_error(answers_of_program(uncompressed, name, questions), wanted)
        checks.append(
            FunctionCheck(
                name=name,
                predictions=len(questions.targets),
                max_abs_error=_largest_error(got, wanted),
                min_cosine=float((got.next_vector * wanted.next_vector).sum(axis=1).min()),  # of unit vectors
                hit5_agreement=_hit5_agreement(pool, got, wanted, questions.targets),
                pool=len(pool),
                program_error=program_error,
                # states are float16
                tolerance=_tolerance("float16" if saved.new_state(name) else precision, model.input_dim),
                wrong_weights=tuple(wrong_constants(saved.weights(name), exact, precision)),
            )
        )
    return Verification(tuple(checks))


def _facts(path: str | os.PathLike[str], description: Any, model: LatentVectorModel) -> dict[str, str]:
    """What a package of ours says of itself; ValueError where it is none, or holds another kind of model."""
    facts = dict(description.metadata.userDefined)
    if "lvm_fast.model_type" not in facts:
        raise ValueError(f"verify_coreml: {path} was not exported by lvm_fast")
    found = (facts["lvm_fast.model_type"], json.loads(facts["lvm_fast.config"])["input_dim"])
    if found != (model.model_type, model.input_dim):
        raise ValueError(
            f"verify_coreml: {path} holds a {found[0]} of width {found[1]}; "
            f"the model is a {model.model_type} of width {model.input_dim}"
        )
    return facts


def _tolerance(precision: str, dim: int) -> float:
    """The numbers of a unit vector, and their rounding errors with them, grow as it gets shorter."""
    return _TOLERANCES[precision] * math.sqrt(_WIDTH / dim)


def _largest_error(got: Answers, wanted: Answers) -> float:
    return max(float(np.abs(mine - theirs).max()) for mine, theirs in zip(got, wanted, strict=True))


def _hit5_agreement(pool: VectorBank, got: Answers, wanted: Answers, targets: NDArray[np.int64]) -> float:
    """Share of questions for which both or neither have their target among the five nearest of the pool."""
    hits = [pool.rank(answers.next_vector, targets, max_rank=5) < 5 for answers in (got, wanted)]
    return float((hits[0] == hits[1]).mean())

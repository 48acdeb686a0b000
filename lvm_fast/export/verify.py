"""Proof that a Core ML package computes what the model does: `verify_coreml`, on any machine."""

from __future__ import annotations

import json
import math
import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..scoring import VectorBank
from .arms import Exportable, arm_for
from .findings import FunctionCheck, RetrievalCheck, Verification
from .questions import Answers, answers_of_model, answers_of_program, questions_for, sample_rows
from .retrieval import Bank, read_bank

if TYPE_CHECKING:
    from .mil_interpreter import SavedProgram

# what rounding explains in a unit vector of the reference's width; measured 1.5e-4 and 8e-8, at 1 to 1,000 steps
_TOLERANCES = {"float16": 5e-4, "float32": 1e-6}
_WIDTH = 768


def verify_coreml(
    path: str | os.PathLike[str],
    model: Exportable,
    vectors: NDArray[np.float32] | None = None,
    contexts: int = 2,
    bank: Any = None,
) -> Verification:
    """Compare a saved package with the model it should hold.

    Every function runs, in a numpy interpreter of the saved program, on real contexts; its outputs are compared with
    the model's in torch. Every stored weight is compared too, since a tolerance on outputs could hide a single wrong
    one: bit for bit, or, where it is compressed, by the rounding that its bits allow. A program with compressed
    weights runs twice: as it is, and, on one context of each length, with the model's own weights in their place, which
    is held to the tolerance.

    Args:
        path: The ``.mlpackage``.
        model: The model or router it was exported from.
        vectors: Rows to cut contexts from, (T, D) float32; the bundled sample unless given, or random unit vectors
            where the model's width is another than the sample's.
        contexts: How many contexts each ``predict_N`` function runs on.
        bank: The candidates that ``topk`` was given, to compare its rows with; else only their digest is checked.

    Returns:
        The findings; ``.passed`` says whether everything agrees.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: It is not a package that lvm_fast exported, it holds another type or width of model, or an
            operation that the interpreter does not know; or the bank does not fit.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    from .mil_interpreter import SavedProgram

    saved = SavedProgram(path)
    facts = _facts(path, saved.spec.description, model)
    about_bank = json.loads(facts.get("lvm_fast.bank", "null"))
    if bank is not None and about_bank is None:
        raise ValueError(f"verify_coreml: {path} holds no bank to compare with")
    if bank is not None:
        bank = read_bank(bank, about_bank["dtype"], about_bank["topk"], model.input_dim, "verify_coreml")
    rows = sample_rows(model.input_dim) if vectors is None else np.asarray(vectors, np.float32)
    verifier = _Verifier(saved, model, facts["lvm_fast.precision"], rows)
    longest = json.loads(facts.get("lvm_fast.flexible", "null"))
    return Verification(
        tuple(
            verifier.check_retrieval(name, about_bank, bank)
            if "query" in saved.input_shapes(name)
            else verifier.check_prediction(name, longest, contexts)
            for name in saved.functions
        )
    )


class _Verifier:
    """Compares functions of a package with their model."""

    def __init__(self, saved: SavedProgram, model: Exportable, precision: str, rows: NDArray[np.float32]) -> None:
        from .program import Form
        from .programs import build_program
        from .toolkit import ct

        self.saved, self.model, self.precision, self.rows = saved, model, precision, rows
        self.pool = VectorBank(rows)
        self.program = build_program(model, Form(precision, ct.target.iOS18))

    def check_prediction(self, name: str, longest: int | None, contexts: int) -> FunctionCheck:
        """Of a function that predicts: its program, its constants, and what comes of both."""
        from .constants import wrong_constants
        from .mil_constants import mil_name

        (shape,) = self.saved.input_shapes(name).values()
        length = shape[1] if len(shape) == 3 else None
        arm = arm_for(self.model, length)
        exact = {mil_name(name): array for name, array in self.program.constants(length).items()}
        uncompressed = self.saved.with_constants({name: array.astype(self.precision) for name, array in exact.items()})
        questions = questions_for(shape, longest or arm.max_context, self.rows, contexts)
        wanted, got = answers_of_model(arm, questions), answers_of_program(self.saved, name, questions)
        error = program_error = _largest_error(got, wanted)
        if uncompressed is not self.saved:
            chosen = questions.one_a_length()
            exactly = answers_of_program(uncompressed, name, questions.at(chosen))
            program_error = _largest_error(exactly, wanted.at(chosen))
        computes_in = "float16" if self.saved.new_state(name) else self.precision  # states are float16
        return FunctionCheck(
            name=name,
            predictions=len(questions.targets),
            max_abs_error=error,
            min_cosine=float((got.next_vector * wanted.next_vector).sum(axis=1).min()),  # of unit vectors
            hit5_agreement=_hit5_agreement(self.pool, got, wanted, questions.targets),
            pool=len(self.pool),
            program_error=program_error,
            tolerance=_tolerance(computes_in, self.model.input_dim),
            wrong_weights=tuple(wrong_constants(self.saved.weights(name), exact, self.precision)),
        )

    def check_retrieval(self, name: str, about: dict[str, Any], bank: Bank | None) -> RetrievalCheck:
        """Of the function that searches the bank, asked with predictions of the model."""
        from .verify_retrieval import check_retrieval

        arm = arm_for(self.model, None)
        contexts = questions_for((1, None, arm.input_dim), arm.max_context, self.rows, 0)
        queries = answers_of_model(arm, contexts).next_vector
        return check_retrieval(self.saved, name, about, queries, bank, self.precision)


def _facts(path: str | os.PathLike[str], description: Any, model: Exportable) -> dict[str, str]:
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
    """Of any number; of deltas longer than 1, in parts of their length, since rounding grows with it."""
    lengths = np.maximum(np.linalg.norm(wanted.delta, axis=1, keepdims=True), 1.0)  # (P, 1)
    deltas = np.abs(got.delta - wanted.delta) / lengths
    return float(np.maximum(np.abs(got.next_vector - wanted.next_vector).max(), deltas.max()))  # NaN if either is


def _hit5_agreement(pool: VectorBank, got: Answers, wanted: Answers, targets: NDArray[np.int64]) -> float:
    """Share of questions for which both or neither have their target among the five nearest of the pool."""
    vectors = [np.nan_to_num(answers.next_vector) for answers in (got, wanted)]  # the error tells of NaN
    hits = [pool.rank(predicted, targets, max_rank=5) < 5 for predicted in vectors]
    return float((hits[0] == hits[1]).mean())

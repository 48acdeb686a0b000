"""Proof that a Core ML package computes what the model does: `verify_coreml`, on any machine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._util.numbers import whole_number
from ..models.base import LatentVectorModel
from ..retrieval.bank import VectorBank
from .candidate_bank import Bank, read_bank
from .compression import LEAST_COSINES
from .exportable import Exportable, arm_for, check_as_built, facts_of, space_kinds
from .package_metadata import BankFacts, Facts, read_facts
from .probe_inputs import Answers, answers_of_model, answers_of_program, questions_for, sample_rows
from .verification_result import FunctionCheck, RetrievalCheck, Verification

if TYPE_CHECKING:
    from .mil.interpreter import SavedProgram

# what rounding explains in a unit vector of the reference's width; measured 1.5e-4 and 8e-8, at 1 to 1,000 steps
_TOLERANCES = {"float16": 5e-4, "float32": 1e-6}
_WIDTH = 768

Shapes: TypeAlias = Mapping[str, tuple[int | None, ...]]


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
    weights runs twice: as it is, which is held to the least cosine that its compression may cost, and, on one context
    of each length, with the model's own weights in their place, which is held to the tolerance. Whatever of the package
    is not as export wrote it, a byte between two weights for instance, is found by digests that the package carries.

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
        ValueError: It is not a package that lvm_fast exported, or no longer as it was; it holds another type or width
            of model, or an operation that the interpreter does not know; or the bank does not fit.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    from .mil.interpreter import SavedProgram
    from .package.package import changes_in

    contexts = whole_number(contexts, "verify_coreml: contexts", least=1)
    facts = read_facts(path)
    _check_kind(path, facts, model)
    check_as_built(model, "verify_coreml")
    saved = SavedProgram(path)
    _check_functions(path, facts, saved, model)
    if bank is not None and facts.bank is None:
        raise ValueError(f"verify_coreml: {path} holds no bank to compare with")
    if bank is not None and facts.bank is not None:
        bank = read_bank(bank, facts.bank.dtype, facts.bank.topk, model, "verify_coreml")
    rows = sample_rows(model.input_dim) if vectors is None else _checked_rows(vectors, model.input_dim)
    changes = changes_in(path)
    # a program that has changed is not run: it may not end
    checks = [] if changes.program else _checks(_Verifier(saved, model, facts, rows), contexts, bank)
    return Verification(tuple(checks), tuple(filter(None, changes)))


def _checks(verifier: _Verifier, contexts: int, bank: Bank | None) -> Iterator[FunctionCheck | RetrievalCheck]:
    """How each function compares with the model."""
    saved, about = verifier.saved, verifier.facts.bank
    for name in saved.functions:
        try:
            if about is not None and "query" in saved.input_shapes(name):
                yield verifier.check_retrieval(name, about, bank)
            else:
                yield verifier.check_prediction(name, contexts)
        except Exception as error:  # an unsealed program that was damaged can raise almost anything
            said = str(error).split("\n", 1)[0]
            raise ValueError(f"verify_coreml: function {name!r} cannot be compared: {said}") from error


class _Verifier:
    """Compares functions of a package with their model."""

    def __init__(self, saved: SavedProgram, model: Exportable, facts: Facts, rows: NDArray[np.float32]) -> None:
        from .coremltools_compat import ct
        from .mil.program import Form
        from .mil.registry import build_program

        self.saved, self.model, self.facts, self.rows = saved, model, facts, rows
        self._pools: dict[int, VectorBank] = {}  # by the id of their models
        self.program = build_program(model, Form(facts.precision, ct.target.iOS18))

    def check_prediction(self, name: str, contexts: int) -> FunctionCheck:
        """Of a function that predicts: its program, its constants, and what comes of both."""
        from .compare_weights import wrong_constants
        from .mil.constants import mil_name

        (shape,) = self.saved.input_shapes(name).values()
        length = shape[1] if len(shape) == 3 else None
        arm = arm_for(self.model, length)
        exact = {mil_name(constant): array for constant, array in self.program.constants(length).items()}
        precision = self.facts.precision
        wide = {mil_name(constant) for constant in self.program.wide(length)}
        wrong = tuple(wrong_constants(self.saved.weights(name), exact, precision, wide))
        rounded = {constant: array.astype(precision) for constant, array in exact.items()}
        uncompressed = self.saved.with_constants(name, rounded)
        questions = questions_for(shape, self.facts.flexible or arm.max_context, self.rows, contexts)
        wanted, got = answers_of_model(arm, questions), answers_of_program(self.saved, name, questions)
        error = program_error = _largest_error(got, wanted)
        if uncompressed is not self.saved:
            chosen = questions.one_a_length()
            exactly = answers_of_program(uncompressed, name, questions.at(chosen))
            program_error = _largest_error(exactly, wanted.at(chosen))
        pool = self._pool(arm)
        computes_in = "float16" if self.saved.new_state(name) else precision  # states are float16
        return FunctionCheck(
            name=name,
            predictions=len(questions.targets),
            max_abs_error=error,
            min_cosine=_least_cosine(got, wanted),
            least_cosine=LEAST_COSINES[self.facts.compress],
            hit5_agreement=_hit5_agreement(pool, got, wanted, questions.targets),
            pool=len(pool),
            program_error=program_error,
            tolerance=_tolerance(computes_in, self.model.input_dim),
            wrong_weights=wrong,
        )

    def _pool(self, arm: LatentVectorModel) -> VectorBank:
        """What the model searches among: the rows, or its keys of them."""
        if id(arm) not in self._pools:
            self._pools[id(arm)] = VectorBank(arm.keys(self.rows) if arm.has_keys else self.rows)
        return self._pools[id(arm)]

    def check_retrieval(self, name: str, about: BankFacts, bank: Bank | None) -> RetrievalCheck:
        """Of the function that searches the bank, asked with predictions of the model."""
        from .verify_retrieval import check_retrieval

        arm = arm_for(self.model, None)
        contexts = questions_for((1, None, arm.input_dim), arm.max_context, self.rows, 0)
        queries = answers_of_model(arm, contexts).searched
        return check_retrieval(self.saved, name, about, queries, bank, self.facts.precision)


def _checked_rows(vectors: Any, dim: int) -> NDArray[np.float32]:
    rows = np.asarray(vectors, np.float32)
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != dim:
        raise ValueError(f"verify_coreml: vectors has shape {rows.shape}; expected (T, {dim})")
    return rows


def _check_kind(path: str | os.PathLike[str], facts: Facts, model: Exportable) -> None:
    """Raise ValueError where the package holds another kind of model."""
    if (facts.model_type, facts.input_dim) != (model.model_type, model.input_dim):
        raise ValueError(
            f"verify_coreml: {path} holds a {facts.model_type} of width {facts.input_dim}; "
            f"the model is a {model.model_type} of width {model.input_dim}"
        )
    own = space_kinds(facts_of(model)["config"])
    if facts.spaces != own:
        raise ValueError(
            f"verify_coreml: {path} holds a model in the space {_in_words(facts.spaces)}; "
            f"the model's is {_in_words(own)}"
        )


def _in_words(spaces: Sequence[str | None]) -> str:
    return ", ".join(kind or "raw" for kind in spaces)


def _check_functions(path: str | os.PathLike[str], facts: Facts, saved: SavedProgram, model: Exportable) -> None:
    """Raise ValueError where functions are not those that were exported, or one is none that we write."""
    if saved.functions != list(facts.functions):
        raise ValueError(
            f"verify_coreml: {path} has the functions {', '.join(saved.functions)}; "
            f"{', '.join(facts.functions)} were exported"
        )
    for name in saved.functions:
        shapes, outputs = saved.input_shapes(name), saved.output_names(name)
        if not _is_ours(facts, shapes, outputs, model):
            found = f"inputs {shapes} and outputs {', '.join(outputs)}"
            raise ValueError(f"verify_coreml: {path}: function {name!r} has {found}; no function of ours has")


def _is_ours(facts: Facts, shapes: Shapes, outputs: Sequence[str], model: Exportable) -> bool:
    ranks = {"context": 3, "vector": 2} | ({"query": 2} if facts.bank else {})
    if len(shapes) != 1 or not ranks.keys() >= shapes.keys():
        return False
    ((name, (batch, *rest)),) = shapes.items()
    if (batch, len(rest) + 1, rest[-1:]) != (1, ranks[name], [facts.input_dim]):
        return False
    arm = arm_for(model, rest[0] if name == "context" else None)
    predicted = {"next_vector", "delta"} if arm.space is None else {"next_vector", "delta", "query"}
    wanted = {"scores", "ids"} if name == "query" else predicted
    return set(outputs) == wanted


def _tolerance(precision: str, dim: int) -> float:
    """The numbers of a unit vector, and their rounding errors with them, grow as it gets shorter."""
    return _TOLERANCES[precision] * math.sqrt(_WIDTH / dim)


def _largest_error(got: Answers, wanted: Answers) -> float:
    """Of any number; of deltas longer than 1, in parts of their length, since rounding grows with it."""
    lengths = np.maximum(np.linalg.norm(wanted.delta, axis=1, keepdims=True), 1.0)  # (P, 1)
    deltas = np.abs(got.delta - wanted.delta) / lengths
    errors = [np.abs(mine - exact).max() for mine, exact in zip(got.units, wanted.units, strict=True)]
    return float(np.max([*errors, deltas.max()]))  # NaN if any is


def _least_cosine(got: Answers, wanted: Answers) -> float:
    """The least of any two unit vectors that should be the same."""
    return float(np.min([(mine * exact).sum(axis=1) for mine, exact in zip(got.units, wanted.units, strict=True)]))


def _hit5_agreement(pool: VectorBank, got: Answers, wanted: Answers, targets: NDArray[np.int64]) -> float:
    """Share of questions for which both or neither have their target among the five nearest of the pool."""
    vectors = [np.nan_to_num(answers.searched) for answers in (got, wanted)]  # the error tells of NaN
    hits = [pool.rank(predicted, targets, max_rank=5) < 5 for predicted in vectors]
    return float((hits[0] == hits[1]).mean())

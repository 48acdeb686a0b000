"""Proves on any machine that a Core ML package computes what its model does: `verify_coreml`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .._util.numbers import whole_number
from ..models.base import LatentVectorModel
from ..retrieval.bank import VectorBank
from .agreement import check_kind, checked_rows, hit5_agreement, largest_error, least_cosine, tolerance
from .candidate_bank import ROWS_NAME, CandidateBank, make_bank
from .compression import LEAST_COSINES
from .exportable import Exportable, check_as_built, model_for_length, models_of
from .metadata import BankMetadata, PackageMetadata, read_metadata
from .probe_inputs import make_probe_inputs, run_model, run_program, sample_rows
from .verification_result import FunctionCheck, RetrievalCheck, Verification

if TYPE_CHECKING:
    from .mil.interpreter import SavedProgram

Shapes: TypeAlias = Mapping[str, tuple[int | None, ...]]


def verify_coreml(
    path: str | os.PathLike[str],
    model: Exportable,
    vectors: NDArray[np.float32] | None = None,
    contexts: int = 2,
    bank: Any = None,
) -> Verification:
    """Compare a saved package with the model it should hold.

    Three things are compared:

    - Outputs. A numpy interpreter runs every function of the saved program on real contexts, torch runs the model.
    - Weights. A tolerance on outputs could hide a single wrong weight, so every stored one is compared: bit for bit, or
      by the rounding that its bits allow where it is compressed.
    - Bytes. The package carries digests of all its parts; they find any other change, such as a byte between weights.

    A program with compressed weights runs twice. As it is, its cosines must reach the least that its compression
    explains. With the model's own weights in their place, on one context of each length, its error must stay within the
    tolerance.

    Args:
        path: The ``.mlpackage``.
        model: The model or router it was exported from.
        vectors: Rows to cut contexts from, (T, D) float32. The default is the sample; without it, or for a
            model of another width, random unit vectors.
        contexts: How many contexts each ``predict_N`` function runs on.
        bank: The candidates that ``topk`` was exported with, to compare its rows with. Without them only the digest of
            the rows is checked.

    Returns:
        The comparison of each function; ``.passed`` says whether everything agrees.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: lvm_fast did not export the package, or it is damaged; it holds another type or width of model, or
            an operation that the interpreter does not know; or an argument does not fit.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    from .mil.interpreter import SavedProgram
    from .package.package import changes_in

    contexts = whole_number(contexts, "verify_coreml: contexts", least=1)
    metadata = read_metadata(path)
    check_kind(path, metadata, model, "verify_coreml")
    check_as_built(model, "verify_coreml")
    saved = SavedProgram(path)
    _check_functions(path, metadata, saved, model)
    if bank is not None and metadata.bank is None:
        raise ValueError(f"verify_coreml: {path} holds no bank to compare with")
    if bank is not None and metadata.bank is not None:
        bank = make_bank(bank, metadata.bank.dtype, metadata.bank.topk, model, "verify_coreml")
    rows = sample_rows(model.input_dim) if vectors is None else checked_rows(vectors, model.input_dim, "verify_coreml")
    changes = changes_in(path)
    # a program that has changed is not run: it may not end
    checks = [] if changes.program else _checks(_Verifier(saved, model, metadata, rows), contexts, bank)
    return Verification(tuple(checks), tuple(filter(None, changes)))


def _checks(verifier: _Verifier, contexts: int, bank: CandidateBank | None) -> Iterator[FunctionCheck | RetrievalCheck]:
    """Compare each function with the model."""
    saved, bank_metadata = verifier.saved, verifier.metadata.bank
    for name in saved.functions:
        try:
            if bank_metadata is not None and "query" in saved.input_shapes(name):
                yield verifier.check_topk(name, bank_metadata, bank)
            else:
                yield verifier.check_prediction(name, contexts)
        except Exception as error:  # an unsealed program that was damaged can raise almost anything
            reason = str(error).split("\n", 1)[0]
            raise ValueError(f"verify_coreml: function {name!r} cannot be compared: {reason}") from error


class _Verifier:
    """Compares functions of a package with their model."""

    def __init__(
        self, saved: SavedProgram, model: Exportable, metadata: PackageMetadata, rows: NDArray[np.float32]
    ) -> None:
        from .coremltools_compat import ct
        from .mil.program import ProgramOptions
        from .mil.registry import build_program

        self.saved, self.model, self.metadata, self.rows = saved, model, metadata, rows
        self._pools: dict[int, VectorBank] = {}  # by the id of the model
        self.program = build_program(model, ProgramOptions(metadata.precision, ct.target.iOS18))

    def check_prediction(self, name: str, contexts: int) -> FunctionCheck:
        """Compare a function that predicts: its constants, and its outputs with stored and with exact constants."""
        from .compare_weights import wrong_constants
        from .mil.constants import mil_name

        (shape,) = self.saved.input_shapes(name).values()
        length = shape[1] if len(shape) == 3 else None
        model = model_for_length(self.model, length)
        exact = {mil_name(constant): array for constant, array in self.program.constants(length).items()}
        precision = self.metadata.precision
        float32_names = {mil_name(constant) for constant in self.program.float32_names(length)}
        wrong = tuple(wrong_constants(self.saved.weights(name), exact, precision, float32_names))
        rounded = {constant: array.astype(precision) for constant, array in exact.items()}
        uncompressed = self.saved.with_constants(name, rounded)
        inputs = make_probe_inputs(shape, self.metadata.flexible or model.max_context, self.rows, contexts)
        wanted, got = run_model(model, inputs), run_program(self.saved, name, inputs)
        error = program_error = largest_error(got, wanted)
        if uncompressed is not self.saved:
            places = inputs.first_of_each_length()
            program_error = largest_error(run_program(uncompressed, name, inputs.at(places)), wanted.at(places))
        pool = self._pool(model)
        computes_in = "float16" if self.saved.new_state(name) else precision  # states are float16
        return FunctionCheck(
            name=name,
            predictions=len(inputs.targets),
            max_abs_error=error,
            min_cosine=least_cosine(got, wanted),
            least_cosine=LEAST_COSINES[self.metadata.compress],
            hit5_agreement=hit5_agreement(pool, got, wanted, inputs.targets),
            pool=len(pool),
            program_error=program_error,
            tolerance=tolerance(computes_in, self.model.input_dim),
            wrong_weights=wrong,
        )

    def _pool(self, model: LatentVectorModel) -> VectorBank:
        """Return the candidates that a model searches among: the rows, or its keys of them."""
        if id(model) not in self._pools:
            self._pools[id(model)] = VectorBank(model.keys(self.rows) if model.has_keys else self.rows)
        return self._pools[id(model)]

    def check_topk(self, name: str, bank_metadata: BankMetadata, bank: CandidateBank | None) -> RetrievalCheck:
        """Compare the function that searches the bank, asked with predictions of the model."""
        from .mil.constants import mil_name
        from .verify_topk import check_topk

        model = model_for_length(self.model, None)
        inputs = make_probe_inputs((1, None, model.input_dim), model.max_context, self.rows, 0)
        queries = run_model(model, inputs).searched
        rows = self.saved.weights(name).get(mil_name(ROWS_NAME))

        def search(query: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            return self.saved.run(name, {"query": query})

        return check_topk(search, rows, name, bank_metadata, queries, bank, self.metadata.precision)


def _check_functions(
    path: str | os.PathLike[str], metadata: PackageMetadata, saved: SavedProgram, model: Exportable
) -> None:
    """Raise ValueError where the functions are not those that were exported, or have other inputs or outputs."""
    if saved.functions != list(metadata.functions):
        raise ValueError(
            f"verify_coreml: {path} has the functions {', '.join(saved.functions)}; "
            f"{', '.join(metadata.functions)} were exported"
        )
    for name in saved.functions:
        shapes, outputs = saved.input_shapes(name), saved.output_names(name)
        if not _is_ours(metadata, shapes, outputs, model):
            got = f"inputs {shapes} and outputs {', '.join(outputs)}"
            raise ValueError(f"verify_coreml: {path}: function {name!r} has {got}; no function of ours has")


def _is_ours(metadata: PackageMetadata, shapes: Shapes, outputs: Sequence[str], model: Exportable) -> bool:
    ranks = {"context": 3, "vector": 2} | ({"query": 2} if metadata.bank else {})
    if len(shapes) != 1 or not ranks.keys() >= shapes.keys():
        return False
    ((name, (batch, *rest)),) = shapes.items()
    width = models_of(model)[0].query_dim if name == "query" else metadata.input_dim
    if (batch, len(rest) + 1, rest[-1:]) != (1, ranks[name], [width]):
        return False
    used = model_for_length(model, rest[0] if name == "context" else None)
    predicted = {"next_vector", "delta"} if used.space is None else {"next_vector", "delta", "query"}
    wanted = {"scores", "ids"} if name == "query" else predicted
    return set(outputs) == wanted

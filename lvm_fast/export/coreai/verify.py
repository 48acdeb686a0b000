"""Proves in Apple's own runtime that a Core AI asset computes what the model does: `verify_coreai`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..._util.numbers import whole_number
from ...models.base import LatentVectorModel
from ...retrieval.bank import VectorBank
from ..agreement import check_kind, checked_rows, hit5_agreement, largest_error, least_cosine, tolerance
from ..candidate_bank import ROWS_NAME, CandidateBank, make_bank
from ..compare_weights import wrong_constants
from ..compression import LEAST_COSINES, Palettized, Quantized, Stored
from ..exportable import Exportable, check_as_built, model_for_length
from ..metadata import BankMetadata, PackageMetadata, parse_metadata
from ..probe_inputs import ProbeInputs, ProbeOutputs, make_probe_inputs, run_model, sample_rows
from ..verification_result import FunctionCheck, RetrievalCheck, Verification
from ..verify_topk import check_topk
from .plain import run_asset, run_plain
from .program import Program
from .registry import Programs

if TYPE_CHECKING:
    from .runtime import RunningAsset

_WHERE = "verify_coreai"


def verify_coreai(
    path: str | os.PathLike[str],
    model: Exportable,
    vectors: NDArray[np.float32] | None = None,
    contexts: int = 2,
    bank: Any = None,
) -> Verification:
    """Run a saved asset in Apple's runtime and compare it with the model it should hold.

    Every function runs on real contexts; its outputs are compared with the model's in torch, under the limits of
    `verify_coreml`. A float16 function runs with its sums in float32 (`widen_sums`). Every stored weight is compared
    too, bit for bit, or, where it is compressed, by the rounding that its bits allow. An asset with compressed weights
    is held to the least cosine that its compression may cost, and to what the same weights give in torch. Whatever of
    the asset is not as export wrote it is found by digests that it carries.

    Args:
        path: The ``.aimodel``.
        model: The model or router it was exported from.
        vectors: Rows to cut contexts from, (T, D) float32. The default is the sample; without it, or for a
            model of another width, random unit vectors.
        contexts: How many contexts each ``predict_N`` function runs on.
        bank: The candidates that ``topk`` was given, to compare its rows with; else only their digest is checked.

    Returns:
        The findings; ``.passed`` says whether everything agrees.

    Raises:
        FileNotFoundError: There is no asset at `path`.
        ValueError: It is not an asset that lvm_fast exported, or no longer as it was; it holds another type or width of
            model; or the bank does not fit.
        ImportError: Nothing was verified: Apple's packages are not installed, in a version that does not work, or not
            for this machine.
    """
    try:
        from .asset import changes_in, read_metadata
    except ImportError as error:
        raise ImportError(f"nothing was verified: {error}") from error

    contexts = whole_number(contexts, f"{_WHERE}: contexts", least=1)
    metadata = read_metadata(path)
    about = parse_metadata(metadata, path, _WHERE)
    check_kind(path, about, model, _WHERE)
    check_as_built(model, _WHERE)
    if bank is not None and about.bank is None:
        raise ValueError(f"{_WHERE}: {path} holds no bank to compare with")
    if bank is not None and about.bank is not None:
        bank = make_bank(bank, about.bank.dtype, about.bank.topk, model, _WHERE)
    rows = sample_rows(model.input_dim) if vectors is None else checked_rows(vectors, model.input_dim, _WHERE)
    changes = tuple(changes_in(path))
    if changes:  # a program that has changed is not run: it may not end
        return Verification((), changes)
    return Verification(tuple(_checks(path, metadata, about, model, rows, contexts, bank)))


def _checks(
    path: str | os.PathLike[str],
    metadata: Mapping[str, Any],
    about: PackageMetadata,
    model: Exportable,
    rows: NDArray[np.float32],
    contexts: int,
    bank: CandidateBank | None,
) -> Iterator[FunctionCheck | RetrievalCheck]:
    """Compare each function with the model."""
    from .asset import stored_constants
    from .widen import running

    constants = stored_constants(path, metadata)
    with running(path, about.precision) as asset:
        if sorted(asset.functions) != sorted(about.functions):
            found, expected = ", ".join(asset.functions), ", ".join(about.functions)
            raise ValueError(f"{_WHERE}: {path} has the functions {found}; {expected} were exported")
        verifier = _Verifier(asset, model, about, rows)
        for name in about.functions:
            try:
                if about.bank is not None and "query" in asset.input_shapes(name):
                    yield verifier.check_topk(name, constants[name].get(ROWS_NAME), about.bank, bank)
                else:
                    yield verifier.check_prediction(name, constants[name], contexts)
            except Exception as error:  # whatever Apple's runtime may raise
                said = str(error).split("\n", 1)[0]
                raise ValueError(f"{_WHERE}: function {name!r} cannot be compared: {said}") from error


class _Verifier:
    """Compares functions of an asset with their model."""

    def __init__(
        self, asset: RunningAsset, model: Exportable, about: PackageMetadata, rows: NDArray[np.float32]
    ) -> None:
        self.asset, self.model, self.about, self.rows = asset, model, about, rows
        self._programs = Programs(model, about.precision)
        self._pools: dict[int, VectorBank] = {}  # by the id of their models

    def check_prediction(self, name: str, constants: Mapping[str, Stored], contexts: int) -> FunctionCheck:
        """Compare a function that predicts: its constants, and its outputs."""
        (shape,) = self.asset.input_shapes(name).values()
        length = shape[1] if len(shape) == 3 else None
        arm, program = model_for_length(self.model, length), self._programs.of(length)
        precision = self.about.precision
        wrong = tuple(wrong_constants(constants, program.exact(length), precision, program.float32_names))
        inputs = make_probe_inputs(shape, self.about.flexible or arm.max_context, self.rows, contexts)
        wanted, got = run_model(arm, inputs), run_asset(self.asset, name, inputs)
        error = program_error = largest_error(got, wanted)
        if any(isinstance(stored, Quantized | Palettized) for stored in constants.values()) and not wrong:
            program_error = self._error_of_program(program, constants, inputs, got)
        pool = self._pool(arm)
        return FunctionCheck(
            name=name,
            predictions=len(inputs.targets),
            max_abs_error=error,
            min_cosine=least_cosine(got, wanted),
            least_cosine=LEAST_COSINES[self.about.compress],
            hit5_agreement=hit5_agreement(pool, got, wanted, inputs.targets),
            pool=len(pool),
            program_error=program_error,
            tolerance=tolerance(precision, self.model.input_dim),
            wrong_weights=wrong,
        )

    def _error_of_program(
        self, program: Program, constants: Mapping[str, Stored], inputs: ProbeInputs, got: ProbeOutputs
    ) -> float:
        """Return the largest difference from the same weights in torch, float32, on one context of each length."""
        chosen = inputs.first_of_each_length()
        values = {name.removeprefix(program.options.scope): stored for name, stored in constants.items()}
        return largest_error(got.at(chosen), run_plain(program, values, inputs.at(chosen)))

    def _pool(self, arm: LatentVectorModel) -> VectorBank:
        """Return the candidates that a model searches among: the rows, or its keys of them."""
        if id(arm) not in self._pools:
            self._pools[id(arm)] = VectorBank(arm.keys(self.rows) if arm.has_keys else self.rows)
        return self._pools[id(arm)]

    def check_topk(
        self, name: str, rows: Stored | None, bank_metadata: BankMetadata, bank: CandidateBank | None
    ) -> RetrievalCheck:
        """Compare the function that searches the bank, asked with predictions of the model."""
        arm = model_for_length(self.model, None)
        contexts = make_probe_inputs((1, None, arm.input_dim), arm.max_context, self.rows, 0)
        queries = run_model(arm, contexts).searched

        if isinstance(rows, np.ndarray) and np.array_equal(rows, rows.astype(np.float16)):
            rows = rows.astype(np.float16)  # as the bank was made, whatever the precision of the asset

        def search(query: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
            return self.asset.run(name, {"query": query})

        return check_topk(search, rows, name, bank_metadata, queries, bank, self.about.precision)

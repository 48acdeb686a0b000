"""Measures what each precision and compression of a model costs: `compare_precisions`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from .._util.atomic_files import size_of
from .._util.did_you_mean import unknown_name
from ..data.chain_store import ChainStore
from ..data.windows import Windows
from ..evaluation.evaluate import evaluate
from ..evaluation.figures import MODEL
from ..evaluation.report import Report
from ..models.base import LatentVectorModel
from .batched_model import BatchedModel
from .comparison_result import METRIC, PrecisionComparison, Row
from .exportable import check_as_built
from .options import CONTEXTS, Options, check_weights, fitting_contexts
from .package import SUFFIX
from .verification_result import FunctionCheck, Verification

if TYPE_CHECKING:
    from .mil.interpreter import Interpreter
    from .mil.registry import Program

# precision and compression of each row
VARIANTS: dict[str, tuple[str, str | None]] = {
    "float32": ("float32", None),
    "float16": ("float16", None),
    "int8": ("float16", "int8"),
    "palette6": ("float16", "palette6"),
    "palette4": ("float16", "palette4"),
}
FORMATS = ("coreml", "coreai")
_BATCH_SIZE = 128  # contexts


def compare_precisions(
    model: LatentVectorModel,
    store: ChainStore | Windows,
    context_length: int = 100,
    contexts: Sequence[int] = CONTEXTS,
    streaming: bool = True,
    format: str = "coreml",
    **options: Any,
) -> PrecisionComparison:
    """Export a model in every precision and compression, verify each package, and score each on held-out chains.

    Size and parity are those of the package with all its functions. Hit@5 is that of its program, built for many
    contexts at once and run by the interpreter, or for Core AI by Apple's runtime: the same operations on the same
    constants, float16 rounding included.

    Args:
        model: The trained model.
        store: Held-out chains, or windows over them, as `evaluate` takes them.
        context_length: Most context vectors a window has.
        contexts: Context lengths of the packages; unless given, those that the model has positions for.
        streaming: Whether the packages stream.
        format: "coreml" or "coreai".
        **options: Further arguments of `evaluate`, such as pool, stride and seed; not rivals and batch size.

    Raises:
        ValueError: As `export_coreml` and `evaluate`.
        ImportError: coremltools, or for Core AI Apple's packages, are missing, or in a version that does not work.
    """
    suffix, write, verify, batched = _format(format)
    dim = store.store.dim if isinstance(store, Windows) else store.dim
    if dim != model.input_dim:
        raise ValueError(
            f"compare_precisions: the store has {dim} dimensions; expected {model.input_dim}, as the model reads"
        )
    check_as_built(model, "compare_precisions")
    check_weights(model)
    if contexts is CONTEXTS:  # none were given
        contexts, _ = fitting_contexts(model, "ios18")
    measured: dict[str, tuple[int, float, Verification]] = {}
    programs: dict[str, nn.Module] = {}
    with TemporaryDirectory() as folder, ExitStack() as running:
        for name, (precision, compress) in VARIANTS.items():
            checked = Options.checked(contexts, streaming, precision, compress, "ios18")
            package, started = Path(folder, f"{name}{suffix}"), time.monotonic()
            program = write(model, package, checked)
            seconds = time.monotonic() - started
            measured[name] = (size_of(package), seconds, verify(package, model, contexts=1))
            programs[name] = running.enter_context(batched(program, model, context_length))
        report = evaluate(model, store, context_length, rivals=programs, batch_size=_BATCH_SIZE, curve=False, **options)
    return PrecisionComparison(tuple(_row(name, *results, report) for name, results in measured.items()), report)


class _Format(NamedTuple):
    """A format of packages: the suffix of their names, and what writes, verifies and runs them."""

    suffix: str
    write: Callable[..., Any]
    verify: Callable[..., Verification]
    batched: Callable[[Any, LatentVectorModel, int], AbstractContextManager[nn.Module]]


def _format(name: str) -> _Format:
    if name == "coreml":
        from .coreml import write_program
        from .verify import verify_coreml

        def batched(program: Program, model: LatentVectorModel, longest: int) -> nullcontext[nn.Module]:
            return nullcontext(BatchedProgram(program, model))

        return _Format(SUFFIX, write_program, verify_coreml, batched)
    if name == "coreai":
        from .coreai import SUFFIX as ASSET_SUFFIX
        from .coreai.batched import BatchedAsset
        from .coreai.export import write_asset_of
        from .coreai.verify import verify_coreai

        return _Format(ASSET_SUFFIX, write_asset_of, verify_coreai, BatchedAsset)
    raise ValueError(f"compare_precisions: {unknown_name('format', name, FORMATS)}")


def _row(name: str, package_bytes: int, seconds: float, verification: Verification, report: Report) -> Row:
    hit5 = report.baselines[name][METRIC]
    interval = report.intervals[f"{MODEL} - {name}"][METRIC]
    checks = [check for check in verification.functions if isinstance(check, FunctionCheck)]
    return Row(
        name=name,
        package_bytes=package_bytes,
        seconds=seconds,
        verified=verification.passed,
        max_abs_error=max(check.max_abs_error for check in checks),
        program_error=max(check.program_error for check in checks),
        min_cosine=min(check.min_cosine for check in checks),
        hit5=hit5,
        change=hit5 - report.hits[METRIC],
        interval=None if interval is None else (0.0 - interval[1], 0.0 - interval[0]),  # of the program minus the model
    )


class BatchedProgram(BatchedModel):
    """Runs a program in the interpreter."""

    def __init__(self, program: Program, model: LatentVectorModel) -> None:
        super().__init__(model)
        self._program = program
        self._built: tuple[tuple[int, int], Interpreter] | None = None

    def run(self, contexts: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See `BatchedModel.run`."""
        from .mil.interpreter import Interpreter

        batch, length, _ = contexts.shape
        if self._built is None or self._built[0] != (batch, length):
            function = self._program.predict(length, batch=batch)
            self._built = (batch, length), Interpreter({"predict": function})
        return self._built[1].run("predict", {"context": contexts})

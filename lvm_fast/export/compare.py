"""What each precision costs: size, parity and Hit@5 of a model's packages, in one table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.atomic_files import size_of
from ..data.chain_store import ChainStore
from ..data.windows import Windows
from ..evaluation.evaluate import evaluate
from ..evaluation.report import MODEL, Interval, Report
from ..models.base import LatentVectorModel
from .defaults import CONTEXTS, fitting_contexts
from .exportable import check_as_built
from .verification_result import FunctionCheck

if TYPE_CHECKING:
    from .mil.interpreter import Interpreter
    from .mil.registry import Program
    from .verification_result import Verification

# precision and compression of each row
VARIANTS: dict[str, tuple[str, str | None]] = {
    "float32": ("float32", None),
    "float16": ("float16", None),
    "int8": ("float16", "int8"),
    "palette6": ("float16", "palette6"),
    "palette4": ("float16", "palette4"),
}
_METRIC = "hit@5"
_AT_ONCE = 128  # contexts


@dataclass(frozen=True)
class Row:
    """One way to store a model.

    Attributes:
        name: A key of `VARIANTS`.
        package_bytes: Size of the package.
        seconds: What the conversion took.
        verified: Whether `verify_coreml` passed it.
        max_abs_error: Its largest error against torch, weights as they are stored.
        program_error: Its largest error with the model's own weights in place of compressed ones.
        min_cosine: Its smallest cosine with torch.
        hit5: Hit@5 on the held-out windows, a fraction.
        change: `hit5` minus that of torch.
        interval: 95% interval of `change`, in pairs; None for fewer than two chains.
    """

    name: str
    package_bytes: int
    seconds: float
    verified: bool
    max_abs_error: float
    program_error: float
    min_cosine: float
    hit5: float
    change: float
    interval: Interval | None


@dataclass(frozen=True)
class PrecisionComparison:
    """What `compare_precisions` found.

    Attributes:
        rows: One for each way to store the model.
        report: The evaluation of the model in torch; its pool, queries and chains are everybody's.
    """

    rows: tuple[Row, ...]
    report: Report

    def to_dict(self) -> dict[str, Any]:
        """The table as plain JSON values."""
        report = self.report
        shared = {"pool": report.pool, "queries": report.queries, "chains": report.chains, "data": report.data}
        return {"torch_hit5": report.hits[_METRIC], **shared, "rows": [asdict(row) for row in self.rows]}

    def to_text(self) -> str:
        """The table in Markdown, and what it is about."""
        from .compare_markdown import comparison_in_words

        return comparison_in_words(self)


def compare_precisions(
    model: LatentVectorModel,
    store: ChainStore | Windows,
    context_length: int = 100,
    contexts: Sequence[int] = CONTEXTS,
    streaming: bool = True,
    **options: Any,
) -> PrecisionComparison:
    """Export a model in every precision and compression, verify each package, and score each on held-out chains.

    Size and parity are those of the package with all its functions. Hit@5 is that of its program, built for many
    contexts at once and run by the interpreter: the same operations on the same constants, float16 rounding included.

    Args:
        model: The trained model.
        store: Held-out chains, or windows over them, as `evaluate` takes them.
        context_length: Most context vectors a window has.
        contexts: Context lengths of the packages; unless given, those that the model has positions for.
        streaming: Whether the packages stream.
        **options: What else `evaluate` takes, but rivals and the batch size: pool, stride, seed, and so on.

    Raises:
        ValueError: As `export_coreml` and `evaluate`.
        ImportError: coremltools is not installed, or in a version that does not work.
    """
    from .coreml import write_program
    from .options import SUFFIX, Options, check_weights
    from .verify import verify_coreml

    dim = store.store.dim if isinstance(store, Windows) else store.dim
    if dim != model.input_dim:
        raise ValueError(
            f"compare_precisions: the store has {dim} dimensions; expected {model.input_dim}, as the model reads"
        )
    check_as_built(model, "compare_precisions")
    check_weights(model, [model])
    if contexts is CONTEXTS:  # none were given
        contexts, _ = fitting_contexts(model, "ios18")
    measured: dict[str, tuple[int, float, Verification]] = {}
    programs: dict[str, nn.Module] = {}
    with TemporaryDirectory() as folder:
        for name, (precision, compress) in VARIANTS.items():
            asked = Options.checked(contexts, streaming, precision, compress, "ios18")
            package, started = Path(folder, f"{name}{SUFFIX}"), time.monotonic()
            program = write_program(model, package, asked)
            seconds = time.monotonic() - started
            measured[name] = (size_of(package), seconds, verify_coreml(package, model, contexts=1))
            programs[name] = BatchedProgram(program, model)
    report = evaluate(model, store, context_length, rivals=programs, batch_size=_AT_ONCE, curve=False, **options)
    return PrecisionComparison(tuple(_row(name, *found, report) for name, found in measured.items()), report)


def _row(name: str, package_bytes: int, seconds: float, found: Verification, report: Report) -> Row:
    reached = report.baselines[name][_METRIC]
    interval = report.intervals[f"{MODEL} - {name}"][_METRIC]
    checks = [check for check in found.functions if isinstance(check, FunctionCheck)]
    return Row(
        name=name,
        package_bytes=package_bytes,
        seconds=seconds,
        verified=found.passed,
        max_abs_error=max(check.max_abs_error for check in checks),
        program_error=max(check.program_error for check in checks),
        min_cosine=min(check.min_cosine for check in checks),
        hit5=reached,
        change=reached - report.hits[_METRIC],
        interval=None if interval is None else (0.0 - interval[1], 0.0 - interval[0]),  # of the program minus the model
    )


class BatchedProgram(nn.Module):
    """A program in the interpreter, many contexts of one length at once, as `evaluate` asks a model.

    Attributes:
        has_keys: Whether `query` and `keys` are the way to search.
        keys: What the model searches among.
    """

    def __init__(self, program: Program, model: LatentVectorModel) -> None:
        super().__init__()
        self._program = program
        self._built: tuple[tuple[int, int], Interpreter] | None = None
        self._searched = "next_vector" if model.space is None else "query"
        self.has_keys = model.has_keys
        self.keys = model.keys

    def forward(self, context: Tensor, lengths: Tensor) -> Tensor:
        """Deltas: (B, N, D), lengths (B,) -> (B, D); in the space where there is one."""
        return torch.from_numpy(self._outputs("delta", context.numpy(), lengths.numpy()))

    def predict(self, context: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Unit next vectors: (B, N, D), lengths (B,) -> (B, D)."""
        return self._outputs("next_vector", context, lengths)

    def query(self, context: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """What to search with among `keys`: (B, N, D), lengths (B,) -> unit vectors (B, D)."""
        return self._outputs(self._searched, context, lengths)

    def _outputs(self, name: str, rows: NDArray[np.float32], counts: NDArray[np.int64]) -> NDArray[np.float32]:
        found = np.empty((len(rows), rows.shape[2]), np.float32)
        for length in np.unique(counts):
            chosen = np.flatnonzero(counts == length)
            found[chosen] = self._run(rows[chosen, :length])[name]
        return found

    def _run(self, contexts: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        from .mil.interpreter import Interpreter

        batch, length, _ = contexts.shape
        if self._built is None or self._built[0] != (batch, length):
            function = self._program.predict(length, batch=batch)
            self._built = (batch, length), Interpreter({"predict": function})
        return self._built[1].run("predict", {"context": contexts})

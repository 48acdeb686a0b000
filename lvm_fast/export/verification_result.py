"""What a verification found: plain data that becomes lines or JSON."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

_NAMED = 10  # wrong weights; what is wrong with the others is rarely another thing


@dataclass(frozen=True)
class FunctionCheck:
    """How one function of a package compares with the model.

    Attributes:
        name: The function.
        predictions: How many predictions were compared.
        max_abs_error: The largest difference of any number of ``next_vector``, ``delta`` or, in a space, ``query``; of
            deltas longer than 1, in parts of their length.
        min_cosine: The smallest cosine between the package's and the model's ``next_vector``, or ``query``.
        least_cosine: The smallest `min_cosine` that the compression of the package explains.
        hit5_agreement: Share of predictions for which both or neither have the true next vector among their five
            nearest of the pool, in the model's space where it has one.
        pool: How many vectors those are: all that contexts were cut from.
        program_error: The largest difference when the model's own matrices stand in for compressed ones; where none
            is compressed, or one has another shape, `max_abs_error`.
        tolerance: The largest `program_error` that rounding explains.
        wrong_weights: A sentence on each stored constant that is not the model's: bit for bit, or as near as its
            compression allows.
    """

    name: str
    predictions: int
    max_abs_error: float
    min_cosine: float
    least_cosine: float
    hit5_agreement: float
    pool: int
    program_error: float
    tolerance: float
    wrong_weights: tuple[str, ...]

    @property
    def passed(self) -> bool:
        agrees = self.program_error <= self.tolerance and self.min_cosine >= self.least_cosine  # NaN never does
        return agrees and math.isfinite(self.max_abs_error) and not self.wrong_weights

    def to_text(self) -> str:
        """Two lines, and one for each of the first wrong weights."""
        compared = f"max error {self.program_error:.1e} (tolerance {self.tolerance:.0e})"
        if self.program_error != self.max_abs_error:
            compared += f" as a program, {self.max_abs_error:.1e} with its compressed weights"
        more = (
            f"min cosine {self.min_cosine:.6f} (at least {self.least_cosine}), "
            f"Hit@5 agrees {self.hit5_agreement:.0%} (pool {self.pool:,}), {self.predictions} predictions"
        )
        return _lines(self, compared, more)


@dataclass(frozen=True)
class RetrievalCheck:
    """How the retrieval function of a package compares with exact retrieval among its own rows.

    Attributes:
        name: The function.
        queries: How many queries were compared.
        candidates: How many rows its bank has.
        k: How many rows a query gets.
        max_abs_error: The largest error of a score, or shortfall of a row's inner product from what its place deserves.
        agreement: Share of the rows found that are among the exact K best.
        tolerance: The largest error that rounding explains.
        bank_compared: Whether the rows were compared with the bank; if not, with the digest that export left.
        wrong_weights: A sentence on the rows if they are not the bank's.
    """

    name: str
    queries: int
    candidates: int
    k: int
    max_abs_error: float
    agreement: float
    tolerance: float
    bank_compared: bool
    wrong_weights: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.max_abs_error <= self.tolerance and not self.wrong_weights

    def to_text(self) -> str:
        """Two lines, and one if the rows are wrong."""
        compared = f"max error {self.max_abs_error:.1e} (tolerance {self.tolerance:.0e})"
        more = (
            f"top-{self.k} of {self.candidates:,} agrees {self.agreement:.0%}, {self.queries} queries; "
            f"rows compared with {'the bank' if self.bank_compared else 'their digest only: no bank was given'}"
        )
        return _lines(self, compared, more)


@dataclass(frozen=True)
class Verification:
    """What `verify_coreml` found.

    Attributes:
        functions: How each function compares with the model.
        changes: A sentence on each part of the package, its program and its weight file, that is not as it was written.
    """

    functions: tuple[FunctionCheck | RetrievalCheck, ...]
    changes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.functions) and not self.changes

    def to_dict(self) -> dict[str, Any]:
        """The findings as JSON-able values."""
        return {
            "passed": self.passed,
            "functions": [asdict(check) | {"passed": check.passed} for check in self.functions],
            "changes": list(self.changes),
        }

    def to_text(self) -> str:
        """Two lines a function, one for each of its first wrong weights, and one for each change."""
        return "\n".join(
            [*(check.to_text() for check in self.functions), *(f"CHANGED: {what}" for what in self.changes)]
        )


def _lines(check: FunctionCheck | RetrievalCheck, compared: str, more: str) -> str:
    verdict = "equal" if check.passed else "DIFFERENT"
    wrong = list(check.wrong_weights[:_NAMED])
    if len(check.wrong_weights) > _NAMED:
        wrong.append(f"and {len(check.wrong_weights) - _NAMED} more")
    return "\n    ".join([f"{check.name:<14} {verdict:<10} {compared}", more, *wrong])

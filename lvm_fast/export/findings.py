"""What a verification found: plain data that becomes lines or JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class FunctionCheck:
    """How one function of a package compares with the model.

    Attributes:
        name: The function.
        predictions: How many predictions were compared.
        max_abs_error: The largest difference of any number of ``next_vector`` or ``delta``.
        min_cosine: The smallest cosine between the package's and the model's ``next_vector``.
        hit5_agreement: Share of predictions for which both or neither have the true next vector among their five
            nearest of the pool.
        pool: How many vectors those are: all that contexts were cut from.
        program_error: The largest difference when the model's own matrices stand in for compressed ones; where none
            is compressed, `max_abs_error`.
        tolerance: The largest `program_error` that rounding explains.
        wrong_weights: A sentence on each stored constant that is not the model's: bit for bit, or as near as its
            compression allows.
    """

    name: str
    predictions: int
    max_abs_error: float
    min_cosine: float
    hit5_agreement: float
    pool: int
    program_error: float
    tolerance: float
    wrong_weights: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return self.program_error <= self.tolerance and not self.wrong_weights


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
            compared = f"max error {check.program_error:.1e} (tolerance {check.tolerance:.0e})"
            if check.program_error != check.max_abs_error:
                compared += f" as a program, {check.max_abs_error:.1e} with its compressed weights"
            lines.append(
                f"{check.name:<14} {verdict:<10} {compared}, min cosine {check.min_cosine:.6f}, "
                f"Hit@5 agrees {check.hit5_agreement:.0%} (pool {check.pool:,}), {check.predictions} predictions"
            )
            lines.extend(f"    {sentence}" for sentence in check.wrong_weights)
        return "\n".join(lines)

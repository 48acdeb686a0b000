"""What a package holds where nothing says it: the functions that fit the model and the target."""

from __future__ import annotations

from ..inference.router import Router
from .exportable import Exportable
from .options import is_newest

CONTEXTS = (100, 500, 1000)


def fitting_contexts(
    model: Exportable, target: str, taken: bool = False, trained: int | None = None
) -> tuple[tuple[int, ...], str | None]:
    """The context lengths of `CONTEXTS` that a model reads, or a router's limits; one alone before iOS 18.

    Args:
        model: The model.
        target: The target.
        taken: Whether other functions were asked for, beside which an older target has no room.
        trained: The context length the model was trained with, where it is known: the first choice for older targets.

    Returns:
        The lengths; and what was left out, and why.
    """
    known = tuple(model.arms) if isinstance(model, Router) else CONTEXTS
    longest = None if isinstance(model, Router) else model.max_context
    fitting = tuple(length for length in known if longest is None or length <= longest) or (longest or 1,)
    reason = f"the model has {longest} positions"
    if not is_newest(target):
        fitting = () if taken else _one(model, fitting, trained)
        reason = f"target {target!r} holds one function"
    left_out = [f"predict_{length}" for length in known if length not in fitting]
    return fitting, f"{', '.join(left_out)}: {reason}" if left_out else None


def fitting_streaming(model: Exportable, target: str) -> tuple[bool, str | None]:
    """Whether model and target can have a ``step``; and if not, why."""
    from .mil.registry import why_no_step

    reason = why_no_step(model) if is_newest(target) else f"target {target!r} has no Core ML state"
    return reason is None, None if reason is None else f"step: {reason}"


def _one(model: Exportable, fitting: tuple[int, ...], trained: int | None) -> tuple[int, ...]:
    """The length the model was trained with, if it is known; else a router's largest limit, or the first that fits."""
    if trained is not None:
        return (trained,)
    return fitting[-1:] if isinstance(model, Router) else fitting[:1]

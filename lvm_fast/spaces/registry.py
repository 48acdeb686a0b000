"""The kinds of spaces by name. A new kind is one new file and one line here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from .._util.registry import Registry

if TYPE_CHECKING:
    from numpy.typing import NDArray


class SpaceKind(Protocol):
    """A kind of space: ``unit(A (unit(x) - mean))``, with a matrix A of its own or none.

    Attributes:
        has_matrix: Whether there is a matrix A.
    """

    has_matrix: ClassVar[bool]

    @staticmethod
    def matrix(moments: Any, strength: float) -> NDArray[Any] | None:
        """Return A (D, D), symmetric, for `Moments` and a strength from 0 to 1; None where there is none."""


SPACES: Registry[SpaceKind] = Registry(
    "kind of space",
    "lvm_fast.spaces",
    {
        "centred": ".space:Centred",
        "whitened": ".space:Whitened",
    },
)


def kinds() -> tuple[str, ...]:
    """Return the names of all kinds, "raw" first, which changes nothing."""
    return ("raw", *SPACES)

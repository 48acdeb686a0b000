"""Registries: names that stand for classes or modules, which are imported when they are asked for.

A new entry is one new file and one line in the registry of its room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Generic, TypeVar, cast

from .did_you_mean import unknown_name

T = TypeVar("T")


class Registry(Generic[T]):
    """Load a class or a module by name. A place is ``module:Class``, or ``module`` for the module itself.

    A module that begins with a dot lies in `package`, as in ``from .module import Class``; any other is a full name.

    Args:
        what: What the names are names of, such as "model"; error messages say it.
        package: The package of the modules that begin with a dot.
        places: The place of each name.
        aliases: Old names and the names that replaced them. They load, and are not listed.
    """

    def __init__(
        self, what: str, package: str, places: Mapping[str, str], aliases: Mapping[str, str] | None = None
    ) -> None:
        self.what, self.package, self.places, self.aliases = what, package, dict(places), dict(aliases or {})

    def names(self) -> list[str]:
        """Return the names in the order of the registry."""
        return list(self.places)

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (name in self.places or name in self.aliases)

    def current_name(self, name: str) -> str:
        """Return the listed name: `name` itself, or the one that replaced it.

        Raises:
            ValueError: There is no such name; the message suggests the nearest one and lists all.
        """
        if name not in self:
            raise ValueError(unknown_name(self.what, name, self.places))
        return self.aliases.get(name, name)

    def full_place(self, name: str) -> str:
        """Return ``module:Class`` with the full name of the module, without importing it.

        Raises:
            ValueError: As `current_name`.
        """
        place = self.places[self.current_name(name)]
        return f"{self.package}{place}" if place.startswith(".") else place

    def load(self, name: str) -> T:
        """Import what a name stands for.

        Raises:
            ValueError: As `current_name`.
        """
        module, _, attribute = self.full_place(name).partition(":")
        loaded = import_module(module)
        return cast(T, getattr(loaded, attribute) if attribute else loaded)

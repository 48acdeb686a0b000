"""The recipe of a training run: all its settings, checked; from and to dicts and YAML.

The fields of `Recipe` are also the keys of a YAML recipe and the flags of ``lvm-fast train``; `recipe_sections` has
them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from .._util.did_you_mean import unknown_name
from .._util.settings import Setting, checked, read
from ..models.model_types import MODELS
from ..models.registry import check_arguments
from .negative_sources import source_of
from .recipe_sections import DataSection, ModelSection, RunSection, SpaceSection, StepSections
from .recipes import packaged_recipe


@dataclasses.dataclass
class Recipe(RunSection, StepSections, SpaceSection, ModelSection, DataSection):
    """All settings of a training run. The defaults are phase 1 of the reference.

    The reference is the research project of October 2025 whose recipe and models we reproduce (lnsp-phase-4).
    ``lvm-fast train --help`` says of each setting what it means and what it may be.

    A recipe is all its sections at once (`recipe_sections`). Every setting is an attribute, a YAML key and a flag. A
    part of the trainer that takes a section takes the recipe.

    Raises:
        ValueError: A value has the wrong type or is out of range; the message names the key.

    Example:
        >>> recipe = Recipe(data="sample", context_length=32, lr=3e-4)
        >>> recipe.model_type, recipe.batch_size * recipe.accumulation_steps
        ('memory_gru', 256)
    """

    def __post_init__(self) -> None:
        """Bring every value to its type.

        Raises:
            ValueError: A value does not fit; the message names its key. Or there is no such model, or size of one; the
                message suggests the nearest. Whether the sizes fit each other is seen when the model is made.
        """
        if self.model_type in MODELS:
            self.model_type = MODELS.current_name(self.model_type)
        for name in setting_names():
            setattr(self, name, checked(getattr(self, name), *setting(name), f"Recipe: {name}"))
        is_usual = (self.model_type, self.model) == (Recipe.model_type, {})
        if not is_usual:  # to know the arguments takes torch
            check_arguments(self.model_type, self.model)
        self._check_negatives()
        if self.domains is not None:
            from ..data.domains import check_domain_source

            check_domain_source(self.domains)

    def _check_negatives(self) -> None:
        """Raise ValueError for a setting of negatives that is unknown or, beside the others, would do nothing."""
        for name in ("infonce_queue", "infonce_candidates"):
            if getattr(self, name) and self.infonce_batch != "effective":
                expected = f"expected 'effective', whose candidates they join, or {name} = 0"
                raise ValueError(f"Recipe: {name} with infonce_batch = {self.infonce_batch!r}; {expected}")
        if self.infonce_unread and self.infonce_batch == "micro":
            expected = "expected 'effective' or 'bank', whose candidates they are"
            raise ValueError(f"Recipe: infonce_unread with infonce_batch = 'micro'; {expected}")
        if self.negatives != Recipe.negatives:
            source_of(self.negatives)
            if not self.has_hard_negatives:
                expected = "expected enable_soft_negatives or enable_hard_negatives with it"
                raise ValueError(f"Recipe: negatives = {self.negatives!r}; {expected}")
        if self.has_hard_negatives and self.alpha_infonce == 0.0:
            raise ValueError("Recipe: soft or hard negatives with alpha_infonce = 0; expected a weight above 0")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe from settings; texts that stand for numbers are read as such.

        Raises:
            ValueError: A key is unknown (the nearest one is suggested), or a value does not fit.
        """
        for key in values:
            if key not in setting_names():
                raise ValueError(unknown_name("recipe key", key, setting_names()))
        return cls(**{key: read_setting(key, value) for key, value in values.items()})

    @classmethod
    def named(cls, name: str, **overrides: Any) -> Recipe:
        """Make a recipe that comes with the package, such as ``phase1``.

        Args:
            name: Its name.
            **overrides: Settings that win over what it says.

        Raises:
            ValueError: There is none of that name (the nearest one is suggested), or an override does not fit.
        """
        return cls.from_yaml(packaged_recipe(name), **overrides)

    @classmethod
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Recipe:
        """Read a YAML 1.2 recipe; `overrides` win over what it says, its silence means the defaults.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no YAML mapping, a key is unknown or stands twice, or a value does not fit; the message
                names the file where the mistake is in it.
        """
        from .._util.yaml12 import read_yaml

        try:
            settings = read_yaml(Path(path).read_text(encoding="utf-8"))
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: not a YAML file: {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if not isinstance(settings, dict | None):
            raise ValueError(f"{path}: expected a YAML mapping of recipe keys, found a {type(settings).__name__}")
        try:
            recipe = cls.from_dict(settings or {})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if "data" in overrides:
            recipe.data_digest = None  # it is of the file's own data
        return cls.from_dict({**vars(recipe), **overrides})

    def with_absolute_paths(self) -> Recipe:
        """Return a copy whose paths lead to the same files from every folder; `output_dir` stays as it is."""
        located: dict[str, Any] = {}
        for name in setting_names():
            value, about = getattr(self, name), setting(name)[0]
            if about.is_path and isinstance(value, str) and value not in about.choices and name != "output_dir":
                located[name] = os.path.abspath(value)
        return dataclasses.replace(self, **located)

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values; a store made in Python becomes a description of it."""
        settings = {name: getattr(self, name) for name in setting_names()}
        return {name: value if _is_plain(value) else _described(value) for name, value in settings.items()}

    def to_yaml(self) -> str:
        """Return the settings as YAML, in the order of the fields."""
        from .._util.yaml12 import write_yaml

        return write_yaml(self.to_dict())


def setting_names() -> list[str]:
    """Return the names of all settings, in order."""
    return [field.name for field in dataclasses.fields(Recipe)]


@cache
def setting(name: str) -> tuple[Setting, tuple[Any, ...]]:
    """Return what a setting means, and the types it may have: ``(Any,)`` for anything."""
    hint, about = get_args(get_type_hints(Recipe, include_extras=True)[name])
    container = get_origin(hint)
    return about, (container,) if container in (dict, list) else get_args(hint) or (hint,)


def read_setting(name: str, value: Any, called: str = "") -> Any:
    """Bring the value of a setting to its type; texts that stand for numbers are read as such.

    Raises:
        ValueError: The value does not fit; the message calls the setting by its own name, or as in `called`.
    """
    about, kinds = setting(name)
    called = called or f"Recipe: {name}"
    try:
        value = read(value, kinds)
    except ValueError as error:
        raise ValueError(f"{called}: {error}") from error
    return checked(value, about, kinds, called)


def same_setting(name: str, one: Any, other: Any) -> bool:
    """Return whether two values of a setting mean the same: a relative path, as of older runs, may be a full one."""
    if setting(name)[0].is_path and isinstance(one, str) and isinstance(other, str):
        return os.path.abspath(one) == os.path.abspath(other)
    return bool(one == other)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | dict | list)


def _described(store: Any) -> str:
    return f"({len(store)} chains, {len(store.vectors)} vectors, passed in Python)"

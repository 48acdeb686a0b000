"""The recipe of a training run: every setting once, with its default, its meaning and what it may be.

The fields of `Recipe` are also the keys of a YAML recipe and the flags of ``lvm-fast train``.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

from ..suggest import unknown_name


class Setting(NamedTuple):
    """What a setting means, and what it must be: in words, and as a test."""

    meaning: str
    must_be: str = ""
    test: Callable[[Any], bool] = lambda _: True


def _positive(meaning: str) -> Setting:
    return Setting(meaning, "above 0", lambda value: value > 0)


def _not_negative(meaning: str) -> Setting:
    return Setting(meaning, "at least 0", lambda value: value >= 0)


def _count(meaning: str, least: int = 1) -> Setting:
    return Setting(meaning, f"at least {least}", lambda value: value is None or value >= least)


def _within(low: float, high: float, meaning: str) -> Setting:
    return Setting(meaning, f"from {low:g} to {high:g}", lambda value: low <= value <= high)


def _one_of(meaning: str, *values: str) -> Setting:
    return Setting(meaning, " or ".join(map(repr, values)), lambda value: value in values)


_SHARE = Setting("share of the vectors held out, by chain", "above 0 and below 1", lambda value: 0 < value < 1)
_POOL = Setting(
    "candidates of validation: the targets, the whole validation store, or a number",
    "'targets', 'store' or at least 1",
    lambda value: value in ("targets", "store") if isinstance(value, str) else value >= 1,
)
_PRECISION = _one_of("float32, or bfloat16 for autocast", "float32", "bfloat16")
_STRIDE = "vectors between training windows; half the context unless given, all of it for all_positions"
_DATA = "chain store to train on, an .npz of windows (their length is the context's), or 'sample' for the bundled store"
_OBJECTIVE = _one_of(
    "last_position: a window predicts what follows its last vector; all_positions: what follows each, in one pass",
    "last_position",
    "all_positions",
)
_INFONCE_BATCH = _one_of(
    "candidates of InfoNCE: micro, the targets of a forward pass, as the reference has it; effective, those of the "
    "whole optimiser step, without near-copies of the right one",
    "micro",
    "effective",
)


@dataclasses.dataclass
class Recipe:
    """A training run. The defaults are the reference's phase 1.

    Raises:
        ValueError: A value has the wrong type or is out of range; the message names the key.
    """

    data: Annotated[Any, Setting(_DATA)] = "sample"
    validation_data: Annotated[Any, Setting("chain store or .npz to validate on, instead of a part of the data")] = None
    model_type: Annotated[str, Setting("type of the model; `lvm-fast info` lists them")] = "memory_gru"
    model: Annotated[dict[str, Any], Setting("sizes of the model; the reference's unless given")] = dataclasses.field(
        default_factory=dict
    )
    context_length: Annotated[int, _count("most vectors a context holds")] = 100
    objective: Annotated[str, _OBJECTIVE] = "last_position"
    stride: Annotated[int | None, _count(_STRIDE)] = None
    val_stride: Annotated[int | None, _count("vectors between validation targets; half the context unless given")] = (
        None
    )
    min_length: Annotated[int, _count("fewest vectors of context and target together", 2)] = 7
    min_coherence: Annotated[float, _within(-1, 1, "drop training windows with cos(last, target) below this")] = 0.0
    cross_chains: Annotated[bool, Setting("let training windows cross chain boundaries, as the reference did")] = False
    val_fraction: Annotated[float, _SHARE] = 0.1
    pool: Annotated[int | str, _POOL] = "targets"
    epochs: Annotated[int, _count("most passes over the data")] = 50
    batch_size: Annotated[int, _count("windows a forward pass")] = 32
    accumulation_steps: Annotated[int, _count("forward passes an optimiser step, of all processes together")] = 8
    lr: Annotated[float, _positive("highest learning rate")] = 1e-4
    warmup_epochs: Annotated[float, _not_negative("epochs of linear warm-up")] = 1.0
    lr_floor: Annotated[float, _within(0, 1, "where the cosine schedule ends, as a share of lr")] = 0.1
    weight_decay: Annotated[float, _not_negative("weight decay of AdamW")] = 1e-4
    clip_norm: Annotated[float, _positive("largest norm of the gradient")] = 1.0
    alpha_infonce: Annotated[float, _not_negative("weight of the InfoNCE loss")] = 0.05
    infonce_batch: Annotated[str, _INFONCE_BATCH] = "micro"
    temperature: Annotated[float, _positive("temperature of the InfoNCE loss")] = 0.07
    patience: Annotated[int, _count("epochs without a better Hit@5 before stopping")] = 3
    min_improvement: Annotated[float, _not_negative("smallest gain in Hit@5 that counts, as a fraction")] = 1e-4
    seed: Annotated[int, _not_negative("seed of the split, the weights, the order and dropout")] = 42
    device: Annotated[str, Setting("auto, cpu, cuda or mps")] = "auto"
    precision: Annotated[str, _PRECISION] = "float32"
    recompute: Annotated[
        bool, Setting("on the CPU, keep only each GRU layer's states, and compute its gates again going back")
    ] = False
    compile: Annotated[bool, Setting("compile model and loss with torch.compile")] = False
    output_dir: Annotated[str | None, Setting("folder of the run; a new one under runs/ unless given")] = None
    resume: Annotated[bool, Setting("continue the run in output_dir after its last epoch")] = False
    tensorboard: Annotated[bool, Setting("write TensorBoard events where it is installed")] = True

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Bring every value to its type. Raises ValueError naming the first key whose value does not fit."""
        for name in setting_names():
            setattr(self, name, _checked(name, getattr(self, name)))

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
    def from_yaml(cls, path: str | os.PathLike[str], **overrides: Any) -> Recipe:
        """Read a YAML recipe; `overrides` win over what it says, its silence means the defaults.

        Raises:
            OSError: The file cannot be read.
            ValueError: It is no YAML mapping, a key is unknown, or a value does not fit; the message names the file
                where the mistake is in it.
        """
        import yaml

        try:
            settings = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: not a YAML file: {error}") from error
        if not isinstance(settings, dict | None):
            raise ValueError(f"{path}: expected a YAML mapping of recipe keys, found a {type(settings).__name__}")
        try:
            recipe = cls.from_dict(settings or {})
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return cls.from_dict({**vars(recipe), **overrides})

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as plain values; a store made in Python becomes words."""
        settings = {name: getattr(self, name) for name in setting_names()}
        return {name: value if _is_plain(value) else _words_for(value) for name, value in settings.items()}

    def to_yaml(self) -> str:
        """Return the settings as YAML, in the order of the fields."""
        import yaml

        text: str = yaml.safe_dump(self.to_dict(), sort_keys=False)
        return text


def setting_names() -> list[str]:
    """Return the names of all settings, in order."""
    return [field.name for field in dataclasses.fields(Recipe)]


@cache
def setting(name: str) -> tuple[Setting, tuple[Any, ...]]:
    """Return what a setting means, and the types it may have: ``(Any,)`` for anything."""
    hint, about = get_args(get_type_hints(Recipe, include_extras=True)[name])
    return about, (dict,) if hint == dict[str, Any] else get_args(hint) or (hint,)


def read_setting(name: str, value: Any, called: str = "") -> Any:
    """Bring the value of a setting to its type; texts that stand for numbers are read as such.

    Raises:
        ValueError: The value does not fit; the message calls the setting by its own name, or as in `called`.
    """
    return _checked(name, _read(name, value), called)


def _checked(name: str, value: Any, called: str = "") -> Any:
    about, kinds = setting(name)
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = Any in kinds or type(value) in kinds or (float in kinds and is_number)
    if not fits or (is_number and not math.isfinite(value)) or not about.test(value):
        words = " or ".join(kind.__name__.replace("NoneType", "nothing") for kind in kinds)
        expected = f"{words}, {about.must_be}".rstrip(", ")
        raise ValueError(f"{called or f'Recipe: {name}'} = {value!r}; expected {expected}")
    return float(value) if float in kinds else value


def _read(name: str, value: Any) -> Any:
    """Read a text for a setting that is no text: flags are texts, and so is YAML's ``1e-4``."""
    _, kinds = setting(name)
    if not isinstance(value, str) or Any in kinds:
        return value
    if type(None) in kinds and value.lower() in ("none", "null"):
        return None
    for kind in (int, float):
        if kind in kinds:
            with suppress(ValueError):
                return kind(value)
    return value


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | dict)


def _words_for(store: Any) -> str:
    return f"({len(store)} chains, {len(store.vectors)} vectors, passed in Python)"

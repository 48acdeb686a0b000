"""The recipe of a training run: every setting once, with its default, its meaning and what it may be.

The fields of `Recipe` are also the keys of a YAML recipe and the flags of ``lvm-fast train``.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from .._util.did_you_mean import unknown_name
from ..models.model_types import MODELS
from ..models.registry import check_arguments, model_names
from ..spaces import KINDS
from .negatives import own_source
from .recipe_fields import (
    Setting,
    checked,
    cosine_range,
    count,
    not_negative,
    one_of,
    path_of,
    positive,
    read,
    seed_of,
    within,
)
from .recipes import packaged_recipe

_SHARE = Setting("share of the vectors held out, by chain", "above 0 and below 1", lambda value: 0 < value < 1)
_POOL = Setting(
    "candidates of validation: the targets, the whole validation store, or a number",
    "'targets', 'store' or at least 1",
    lambda value: value in ("targets", "store") if isinstance(value, str) else value >= 1,
    ("targets", "store"),
)
_PRECISION = one_of(
    "float32, or bfloat16 for autocast where the device multiplies bfloat16 itself", "float32", "bfloat16"
)
_DEVICE = Setting("where to train; cuda:N is the GPU of that number", choices=("auto", "cpu", "cuda", "mps"))
_STRIDE = "vectors between training windows; half the context unless given, all of it for all_positions"
_VAL_STRIDE = "vectors between validation targets; half the context unless given, or less until there are 200 targets"
_DATA = "chain store to train on, an .npz of windows (their length is the context's), or 'sample' for the bundled store"
_OBJECTIVE = one_of(
    "last_position: a window predicts what follows its last vector; all_positions: what follows each, in one pass",
    "last_position",
    "all_positions",
)
_INFONCE_BATCH = one_of(
    "candidates of InfoNCE: micro, the targets of a forward pass, as the reference has it; effective, those of the "
    "whole optimiser step, or bank, every chunk of the training data, both without near-copies of the right one",
    "micro",
    "effective",
    "bank",
)
_NEGATIVES = (
    "where soft and hard negatives come from: target, mined around the right answers; prediction, mined around the "
    "model's own predictions; or a file, ids that `lvm-fast mine` wrote or JSON lines of vectors or ids"
)
_DOMAINS = (
    "domains that the gate of a mixture of experts learns, an expert each: clusters, found in the training chains; "
    "metadata, the data's own; or a file of one domain a chain, .json, .jsonl or .csv"
)
_SPACE = one_of(
    "what the model reads, predicts and is compared in: the encoder's vectors (raw), the same about the training mean "
    "(centred), or softly whitened too",
    *KINDS,
)
_STRENGTH = (
    "how far a whitened space goes: 1 makes all directions alike; 0.5 unless given, or for a model that starts at a "
    "closed form what validation chooses"
)
_UNREAD = "leave out of each prediction's shared wrong answers what its chain has said before, which cannot come next"
_VALIDATION_DATA = "chain store or .npz to validate on, instead of a part of the data"
_DATA_DIGEST = "SHA-256 of the data's vectors, which training writes down; where it is given, other data is refused"
_WARM_START = (
    "a run, checkpoint or saved model whose weights to begin with, and its sizes where none are given; 'general' is "
    "the one that comes with the package"
)


@dataclasses.dataclass
class Recipe:
    """All settings of a training run. The defaults are phase 1 of the reference.

    The reference is the research project of October 2025 whose recipe and models we reproduce (lnsp-phase-4).
    ``lvm-fast train --help`` says of each setting what it means and what it may be.

    Raises:
        ValueError: A value has the wrong type or is out of range; the message names the key.

    Example:
        >>> recipe = Recipe(data="sample", context_length=32, lr=3e-4)
        >>> recipe.model_type, recipe.batch_size * recipe.accumulation_steps
        ('memory_gru', 256)
    """

    data: Annotated[Any, path_of(_DATA, "sample")] = "sample"
    data_digest: Annotated[str | None, Setting(_DATA_DIGEST)] = None
    validation_data: Annotated[Any, path_of(_VALIDATION_DATA, "sample")] = None
    model_type: Annotated[str, Setting("type of the model", choices=tuple(model_names()))] = "memory_gru"
    model: Annotated[dict[str, Any], Setting("sizes of the model; the reference's unless given")] = dataclasses.field(
        default_factory=dict
    )
    warm_start: Annotated[str | None, path_of(_WARM_START, "general")] = None
    space: Annotated[str, _SPACE] = "raw"
    space_strength: Annotated[float | None, within(0, 1, _STRENGTH)] = None
    context_length: Annotated[int, count("most vectors a context holds")] = 100
    objective: Annotated[str, _OBJECTIVE] = "last_position"
    stride: Annotated[int | None, count(_STRIDE)] = None
    val_stride: Annotated[int | None, count(_VAL_STRIDE)] = None
    min_length: Annotated[int, count("fewest vectors of context and target together", 2)] = 7
    min_coherence: Annotated[float, within(-1, 1, "drop training windows with cos(last, target) below this")] = 0.0
    cross_chains: Annotated[bool, Setting("let training windows cross chain boundaries, as the reference did")] = False
    val_fraction: Annotated[float, _SHARE] = 0.1
    pool: Annotated[int | str, _POOL] = "targets"
    epochs: Annotated[int, count("most passes over the data")] = 50
    batch_size: Annotated[int, count("windows a forward pass")] = 32
    accumulation_steps: Annotated[int, count("forward passes an optimiser step, of all processes together")] = 8
    lr: Annotated[float, positive("highest learning rate")] = 1e-4
    warmup_epochs: Annotated[float, not_negative("epochs of linear warm-up")] = 1.0
    lr_floor: Annotated[float, within(0, 1, "where the cosine schedule ends, as a share of lr")] = 0.1
    weight_decay: Annotated[float, not_negative("weight decay of AdamW")] = 1e-4
    clip_norm: Annotated[float, positive("largest norm of the gradient")] = 1.0
    alpha_infonce: Annotated[float, not_negative("weight of the InfoNCE loss")] = 0.05
    infonce_batch: Annotated[str, _INFONCE_BATCH] = "micro"
    infonce_queue: Annotated[int, not_negative("targets of earlier steps that are candidates too (XBM)")] = 0
    infonce_candidates: Annotated[int, not_negative("random training chunks that are candidates of a step too")] = 0
    infonce_unread: Annotated[bool, Setting(_UNREAD)] = False
    temperature: Annotated[float, positive("temperature of the InfoNCE loss")] = 0.07
    enable_soft_negatives: Annotated[bool, Setting("give each prediction soft negatives of its own")] = False
    soft_negative_cosine_range: Annotated[list[float], cosine_range("cosines of soft negatives")] = dataclasses.field(
        default_factory=lambda: [0.6, 0.8]
    )
    enable_hard_negatives: Annotated[bool, Setting("give each prediction hard negatives of its own")] = False
    hard_negative_cosine_range: Annotated[list[float], cosine_range("cosines of hard negatives")] = dataclasses.field(
        default_factory=lambda: [0.75, 0.9]
    )
    negatives: Annotated[str, path_of(_NEGATIVES, "target", "prediction")] = "target"
    negatives_limit: Annotated[int, count("most negatives of a kind for a prediction")] = 8
    negatives_exclude_within: Annotated[
        int, count("mined negatives are no chunks of the target's chain up to so many places away")
    ] = 5
    negatives_refresh: Annotated[int, count("epochs between minings around predictions")] = 1
    balance_weight: Annotated[float, not_negative("weight of the loss that shares work out among experts")] = 0.01
    domains: Annotated[str | None, path_of(_DOMAINS, "clusters", "metadata")] = None
    domain_weight: Annotated[float, positive("weight of the loss that teaches a gate its domains")] = 0.1
    patience: Annotated[int, count("epochs without a better Hit@5 before stopping")] = 3
    min_improvement: Annotated[float, not_negative("smallest gain in Hit@5 that counts, as a fraction")] = 1e-4
    seed: Annotated[int, seed_of("seed of the split, the weights, the order and dropout")] = 42
    device: Annotated[str, _DEVICE] = "auto"
    precision: Annotated[str, _PRECISION] = "float32"
    recompute: Annotated[
        bool, Setting("keep only each GRU layer's states (CPU, CUDA), and compute its gates again going back")
    ] = False
    compile: Annotated[bool, Setting("compile model and loss with torch.compile")] = False
    output_dir: Annotated[str | None, path_of("folder of the run; a new one under runs/ unless given")] = None
    resume: Annotated[bool, Setting("continue the run in output_dir after its last epoch")] = False
    tensorboard: Annotated[bool, Setting("write TensorBoard events where it is installed")] = True

    def __post_init__(self) -> None:
        self.check()

    def check(self) -> None:
        """Bring every value to its type.

        Raises:
            ValueError: A value does not fit; the message names its key. Or there is no such model, or size of one; the
                message suggests the nearest. Whether the sizes fit each other is seen when the model is made.
        """
        if self.model_type in MODELS:
            self.model_type = MODELS.current_name(self.model_type)
        for name in setting_names():
            setattr(self, name, checked(getattr(self, name), *setting(name), f"Recipe: {name}"))
        if (self.model_type, self.model) != (
            Recipe.model_type,
            {},
        ):  # to know arguments takes torch
            check_arguments(self.model_type, self.model)
        self._check_negatives()
        if self.domains is not None:
            from ..data.domains import check_domain_source

            check_domain_source(self.domains)

    def _check_negatives(self) -> None:
        """Raise ValueError for a setting of negatives that is unknown or, beside the others, would do nothing."""
        own_source(self.negatives)
        for name in ("infonce_queue", "infonce_candidates"):
            if getattr(self, name) and self.infonce_batch != "effective":
                expected = f"expected 'effective', whose candidates they join, or {name} = 0"
                raise ValueError(f"Recipe: {name} with infonce_batch = {self.infonce_batch!r}; {expected}")
        if self.infonce_unread and self.infonce_batch == "micro":
            expected = "expected 'effective' or 'bank', whose candidates they are"
            raise ValueError(f"Recipe: infonce_unread with infonce_batch = 'micro'; {expected}")
        enabled = self.enable_soft_negatives or self.enable_hard_negatives
        if self.negatives != "target" and not enabled:
            expected = "expected enable_soft_negatives or enable_hard_negatives with it"
            raise ValueError(f"Recipe: negatives = {self.negatives!r}; {expected}")
        if enabled and self.alpha_infonce == 0.0:
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
        """Return the settings as plain values; a store made in Python becomes words."""
        settings = {name: getattr(self, name) for name in setting_names()}
        return {name: value if _is_plain(value) else _words_for(value) for name, value in settings.items()}

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
    """Whether two values of a setting mean the same: two paths may, one of them relative, as older runs kept it."""
    if setting(name)[0].is_path and isinstance(one, str) and isinstance(other, str):
        return os.path.abspath(one) == os.path.abspath(other)
    return bool(one == other)


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | dict | list)


def _words_for(store: Any) -> str:
    return f"({len(store)} chains, {len(store.vectors)} vectors, passed in Python)"

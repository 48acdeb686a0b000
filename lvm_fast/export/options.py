"""What may be asked of `export_coreml`, checked before any work is done."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from ..files import check_folder_writable
from ..models.base import LatentVectorModel
from ..suggest import unknown_name
from .compression import COMPRESSIONS
from .retrieval import Bank

SUFFIX = ".mlpackage"
# a system and what runs the same programs on a Mac
TARGETS = {
    "ios16": "iOS16",
    "ios17": "iOS17",
    "ios18": "iOS18",
    "macos13": "iOS16",
    "macos14": "iOS17",
    "macos15": "iOS18",
}
PRECISIONS = ("float16", "float32")
_NEWEST = "iOS18"
_LONGEST_CONTEXT = 1_000_000


@dataclass(frozen=True)
class Options:
    """What a package is to hold, and how; see `export_coreml`."""

    contexts: Sequence[int]
    streaming: bool
    precision: str
    compress: str | None
    target: str
    flexible: int | None
    bank: Bank | None = None

    def check(self) -> None:
        """Raise ValueError for the first option that does not fit, by itself or with the others."""
        for index, length in enumerate(self.contexts):
            if not _is_length(length) or length in self.contexts[:index]:
                expected = f"different whole numbers from 1 to {_LONGEST_CONTEXT:,}"
                raise ValueError(f"export_coreml: contexts[{index}] = {length!r}; expected {expected}")
        if self.flexible is not None and not _is_length(self.flexible):
            expected = f"the largest number of vectors, 1 to {_LONGEST_CONTEXT:,}"
            raise ValueError(f"export_coreml: flexible = {self.flexible!r}; expected {expected}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"export_coreml: {unknown_name('precision', self.precision, PRECISIONS)}")
        if self.target not in TARGETS:
            raise ValueError(f"export_coreml: {unknown_name('target', self.target, TARGETS)}")
        if self.compress is not None and self.compress not in COMPRESSIONS:
            raise ValueError(f"export_coreml: {unknown_name('compress', self.compress, COMPRESSIONS)}")
        self._check_features()

    def _check_features(self) -> None:
        """That there is a function at all, and that the target knows all that is asked of it."""
        functions = len(self.contexts) + (self.flexible is not None) + self.streaming + (self.bank is not None)
        if not functions:
            raise ValueError("export_coreml: contexts is empty and streaming is off; expected at least one function")
        if is_newest(self.target):
            return
        newest = "needs target 'ios18' (or 'macos15')"
        if self.streaming:
            remedy = "pass streaming=False (--no-streaming)"
            raise ValueError(
                f"export_coreml: streaming {newest}; target {self.target!r} has no Core ML state: {remedy}"
            )
        if self.compress:
            raise ValueError(f"export_coreml: compress = {self.compress!r} {newest}; target is {self.target!r}")
        if self.bank is not None and self.bank.dtype == "int8":
            raise ValueError(f"export_coreml: bank_dtype = 'int8' {newest}; target is {self.target!r}")
        if functions > 1:
            remedy = "pass one context, such as contexts=(100,)"
            raise ValueError(f"export_coreml: more than one function {newest}; target is {self.target!r}: {remedy}")

    @property
    def deployment_target(self) -> str:
        """coremltools' name of the target."""
        return TARGETS[self.target]

    @property
    def is_multifunction(self) -> bool:
        """Whether the target knows functions by name."""
        return is_newest(self.target)


def is_newest(target: str) -> bool:
    """Whether a target has state, several functions and compressed weights; so has one that is not known."""
    return TARGETS.get(target, _NEWEST) == _NEWEST


def check_path(path: Path, overwrite: bool) -> None:
    """Raise ValueError or OSError where a package cannot take this name."""
    if path.suffix != SUFFIX:
        raise ValueError(f"export_coreml: path is {str(path)!r}; expected a name ending in {SUFFIX}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"export_coreml: {path} exists already; pass overwrite=True (--overwrite) to replace it")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "cannot save: there is no such folder", str(path))
    check_folder_writable(path)


def check_weights(model: nn.Module, arms: Iterable[LatentVectorModel]) -> None:
    """Raise ValueError where a weight is not finite; warn where a model, one of the arms, was never trained."""
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"export_coreml: {name} of the model holds NaN or Inf; expected finite weights")
    if any(map(_is_untrained, arms)):
        warnings.warn("export_coreml: the model looks untrained; its predictions will mean nothing", stacklevel=3)


def _is_untrained(model: LatentVectorModel) -> bool:
    """Whether all LayerNorms have their initial values; in a model without any, all linear layers.

    One optimiser step changes a LayerNorm, and takes some numbers of a linear layer out of the bounds that they were
    drawn from, +-1 / sqrt(its inputs).
    """
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    if norms:
        return all(bool((norm.weight == 1).all() and (norm.bias == 0).all()) for norm in norms)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return all(bool((module.weight.abs() <= module.in_features**-0.5).all()) for module in linear)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _LONGEST_CONTEXT

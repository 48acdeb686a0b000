"""What may be asked of `export_coreml`, checked before any work is done."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from .._util.atomic_files import check_folder_writable, check_holds_no_input, check_output
from .._util.did_you_mean import unknown_name
from .._util.numbers import truth_value, whole_number
from ..models.base import LatentVectorModel
from .compression import COMPRESSIONS

if TYPE_CHECKING:
    from .candidate_bank import Bank

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

    contexts: tuple[int, ...]
    streaming: bool
    precision: str
    compress: str | None
    target: str
    flexible: int | None
    bank: Bank | None = None

    @classmethod
    def checked(
        cls,
        contexts: object,
        streaming: bool,
        precision: str,
        compress: str | None,
        target: str,
        flexible: int | None = None,
        bank: Bank | None = None,
    ) -> Options:
        """The options as plain values. Raises ValueError for the first that does not fit, or not with the others."""
        if isinstance(contexts, str) or not isinstance(contexts, Iterable):
            raise ValueError(f"export_coreml: contexts = {contexts!r}; expected a list of whole numbers")
        lengths = tuple(_length(length, f"contexts[{index}]") for index, length in enumerate(contexts))
        for index, length in enumerate(lengths):
            if length in lengths[:index]:
                raise ValueError(f"export_coreml: contexts[{index}] = {length} again; expected different whole numbers")
        if precision not in PRECISIONS:
            raise ValueError(f"export_coreml: {unknown_name('precision', precision, PRECISIONS)}")
        if target not in TARGETS:
            raise ValueError(f"export_coreml: {unknown_name('target', target, TARGETS)}")
        if compress is not None and compress not in COMPRESSIONS:
            raise ValueError(f"export_coreml: {unknown_name('compress', compress, COMPRESSIONS)}")
        most = None if flexible is None else _length(flexible, "flexible")
        streams = truth_value(streaming, "export_coreml: streaming")
        options = cls(lengths, streams, precision, compress, target, most, bank)
        options._check_features()
        return options

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


def expectations_path(package: Path) -> Path:
    """Where it is written what a package has to compute."""
    return package.with_name(f"{package.stem}.expected.safetensors")


def check_path(path: Path, overwrite: bool, inputs: Iterable[str | os.PathLike[str]] = ()) -> None:
    """Raise ValueError or OSError where a package, and the file beside it, cannot take this name.

    Args:
        path: The package.
        overwrite: Whether it may replace another one, and the file beside that.
        inputs: The files and folders that it is made of.
    """
    given = tuple(inputs)
    check_holds_no_input(path, "export_coreml: path", given)
    if path.suffix != SUFFIX:
        raise ValueError(f"export_coreml: path is {str(path)!r}; expected a name ending in {SUFFIX}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"export_coreml: {path} exists already; pass overwrite=True (--overwrite) to replace it")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "cannot save: there is no such folder", str(path))
    check_folder_writable(path)
    check_output(expectations_path(path), "export_coreml: the file beside the package", given, overwrite)


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
    drawn from, +-1 / sqrt(its inputs). A model that starts at a closed form needs none.
    """
    if model.starts_at_closed_form:
        return False
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    if norms:
        return all(bool((norm.weight == 1).all() and (norm.bias == 0).all()) for norm in norms)
    linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
    return all(bool((module.weight.abs() <= module.in_features**-0.5).all()) for module in linear)


def _length(value: object, called: str) -> int:
    return whole_number(value, f"export_coreml: {called}", 1, _LONGEST_CONTEXT)

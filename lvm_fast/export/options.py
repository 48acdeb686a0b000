"""Checks the options of `export_coreml` and `export_coreai` before any work, and fills in those that were not given."""

from __future__ import annotations

import errno
import os
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .._util.atomic_files import check_folder_writable, check_holds_no_input, check_output
from .._util.did_you_mean import unknown_name
from .._util.numbers import truth_value, whole_number
from ..inference.router import Router
from ..models.base import LatentVectorModel
from .candidate_bank import CandidateBank
from .compression import COMPRESSIONS
from .exportable import Exportable, models_of
from .package import SUFFIX

CONTEXTS = (100, 500, 1000)  # context lengths where none are given
# coremltools' target for each of ours: a Mac runs the programs of the iOS of its year
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
    """The contents and the form of a package; `export_coreml` explains each option."""

    contexts: tuple[int, ...]
    streaming: bool
    precision: str
    compress: str | None
    target: str
    flexible: int | None
    bank: CandidateBank | None = None
    where: str = "export_coreml"  # what messages begin with

    @classmethod
    def checked(
        cls,
        contexts: object,
        streaming: bool,
        precision: str,
        compress: str | None,
        target: str,
        flexible: int | None = None,
        bank: CandidateBank | None = None,
        where: str = "export_coreml",
    ) -> Options:
        """Make plain values of the options.

        Raises:
            ValueError: An option does not fit, or not with the others; the message begins with `where`.
        """
        if isinstance(contexts, str) or not isinstance(contexts, Iterable):
            raise ValueError(f"{where}: contexts = {contexts!r}; expected a list of whole numbers")
        lengths = tuple(_length(length, f"{where}: contexts[{index}]") for index, length in enumerate(contexts))
        for index, length in enumerate(lengths):
            if length in lengths[:index]:
                raise ValueError(f"{where}: contexts[{index}] = {length} again; expected different whole numbers")
        if precision not in PRECISIONS:
            raise ValueError(f"{where}: {unknown_name('precision', precision, PRECISIONS)}")
        if target not in TARGETS:
            raise ValueError(f"{where}: {unknown_name('target', target, TARGETS)}")
        if compress is not None and compress not in COMPRESSIONS:
            raise ValueError(f"{where}: {unknown_name('compress', compress, COMPRESSIONS)}")
        longest = None if flexible is None else _length(flexible, f"{where}: flexible")
        streams = truth_value(streaming, f"{where}: streaming")
        options = cls(lengths, streams, precision, compress, target, longest, bank, where)
        options._check_together()
        return options

    def _check_together(self) -> None:
        """Raise ValueError where the package would hold no function, or the target lacks what is asked of it."""
        functions = len(self.contexts) + (self.flexible is not None) + self.streaming + (self.bank is not None)
        if not functions:
            raise ValueError(f"{self.where}: contexts is empty and streaming is off; expected at least one function")
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
        """Whether the target can have several functions, each with a name."""
        return is_newest(self.target)


def is_newest(target: str) -> bool:
    """Tell whether a target has state, several functions and compressed weights; an unknown one counts as new."""
    return TARGETS.get(target, _NEWEST) == _NEWEST


def fitting_contexts(
    model: Exportable, target: str, others_asked: bool = False, trained: int | None = None
) -> tuple[tuple[int, ...], str | None]:
    """Choose the context lengths where none are given: those of `CONTEXTS` that fit, or a router's limits.

    Args:
        model: The model.
        target: The target. One before iOS 18 has room for one function.
        others_asked: Whether other functions than ``predict_N`` were asked for.
        trained: The context length the model was trained with, where it is known: the choice for older targets.

    Returns:
        The lengths, and a note that says what was left out and why; None if nothing was.
    """
    known = tuple(model.arms) if isinstance(model, Router) else CONTEXTS
    longest = None if isinstance(model, Router) else model.max_context
    fitting = tuple(length for length in known if longest is None or length <= longest) or (longest or 1,)
    reason = f"the model has {longest} positions"
    if not is_newest(target):
        fitting = () if others_asked else _one_context(model, fitting, trained)
        reason = f"target {target!r} holds one function"
    left_out = [f"predict_{length}" for length in known if length not in fitting]
    return fitting, f"{', '.join(left_out)}: {reason}" if left_out else None


def fitting_streaming(model: Exportable, target: str) -> tuple[bool, str | None]:
    """Tell whether model and target can have a ``step``; if not, the second value is a note that says why."""
    from .mil.registry import why_no_step

    reason = why_no_step(model) if is_newest(target) else f"target {target!r} has no Core ML state"
    return reason is None, None if reason is None else f"step: {reason}"


def _one_context(model: Exportable, fitting: tuple[int, ...], trained: int | None) -> tuple[int, ...]:
    """Return the length the model was trained with if known, else a router's largest limit or the first that fits."""
    if trained is not None:
        return (trained,)
    return fitting[-1:] if isinstance(model, Router) else fitting[:1]


def expectations_path(package: Path) -> Path:
    """Return the path of the file beside a package that holds its expected outputs."""
    name = package.stem if package.suffix == SUFFIX else package.name  # packages of both formats may lie side by side
    return package.with_name(f"{name}.expected.safetensors")


def check_path(
    path: Path,
    overwrite: bool,
    inputs: Iterable[str | os.PathLike[str]] = (),
    suffix: str = SUFFIX,
    where: str = "export_coreml",
) -> None:
    """Check that a package, and the file beside it, can be written.

    Args:
        path: The package.
        overwrite: Whether it may replace another package and the file beside that.
        inputs: The files and folders that it is made from.
        suffix: The ending that its name has to have.
        where: The function to name in messages.

    Raises:
        ValueError: The name has another ending, or an input would be overwritten.
        OSError: Something is there already, or the folder is missing or read-only.
    """
    given = tuple(inputs)
    check_holds_no_input(path, f"{where}: path", given)
    if path.suffix != suffix:
        raise ValueError(f"{where}: path is {str(path)!r}; expected a name ending in {suffix}")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{where}: {path} exists already; pass overwrite=True (--overwrite) to replace it")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "cannot save: there is no such folder", str(path))
    check_folder_writable(path)
    check_output(expectations_path(path), f"{where}: the file beside the package", given, overwrite)


def check_lengths(model: Exportable, options: Options) -> None:
    """Raise ValueError where a context is longer than its model can read, or a router has no model for it."""
    if not isinstance(model, Router):
        model.check_length(max(*options.contexts, options.flexible or 0, 0))
        return
    longest = max(model.arms)
    for index, length in enumerate(options.contexts):
        if length > longest:
            expected = f"at most {longest}, the router's largest limit"
            raise ValueError(f"{options.where}: contexts[{index}] = {length}; expected {expected}")
    if options.flexible is not None:
        raise ValueError(f"{options.where}: flexible: a router's model depends on the length; pass contexts instead")


def check_weights(model: Exportable, where: str = "export_coreml") -> None:
    """Warn of a model that was never trained. Raises ValueError where a weight is not finite."""
    for name, tensor in model.state_dict().items():
        if not tensor.isfinite().all():
            raise ValueError(f"{where}: {name} of the model holds NaN or Inf; expected finite weights")
    if any(map(_is_untrained, models_of(model))):
        warnings.warn(f"{where}: the model looks untrained; its predictions will mean nothing", stacklevel=3)


def _is_untrained(model: LatentVectorModel) -> bool:
    """Tell whether all LayerNorms have their initial values; in a model without any, whether all other layers do.

    One optimiser step changes a LayerNorm, and takes some numbers of a linear or recurrent layer out of the bounds that
    they were drawn from, +-1 / sqrt(its inputs, or its width). A model that starts at a closed form needs no training.
    """
    if model.starts_at_closed_form:
        return False
    norms = [module for module in model.modules() if isinstance(module, nn.LayerNorm)]
    if norms:
        return all(bool((norm.weight == 1).all() and (norm.bias == 0).all()) for norm in norms)
    drawn = [(module.weight, module.in_features) for module in model.modules() if isinstance(module, nn.Linear)]
    for module in model.modules():
        if isinstance(module, nn.RNNBase):
            drawn += [(weight, module.hidden_size) for weight in module.parameters()]
    return all(bool((weight.abs() <= inputs**-0.5).all()) for weight, inputs in drawn)


def _length(value: object, name: str) -> int:
    return whole_number(value, name, 1, _LONGEST_CONTEXT)

"""Core ML packages on disk: MIL functions in, a `.mlpackage` out, and back."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..._util.atomic_files import atomic_folder
from ..coremltools_compat import Function, Program, Var, ct, is_symbolic, lower_program, raise_program, types
from ..options import SUFFIX
from .seal import Changes, changes_since_sealed, seal
from .weight_file import FILE as WEIGHT_FILE

_DATA = Path("Data/com.apple.CoreML")
_MODEL = _DATA / "model.mlmodel"


def write_package(
    functions: Mapping[str, Function],
    path: str | os.PathLike[str],
    describe: Callable[[Any], None],
    overwrite: bool = False,
) -> None:
    """Write MIL functions as a package, atomically, once it reads back with the same inputs and outputs.

    Args:
        functions: By name; the first is the default. One function called "main" makes a package for targets before
            iOS 18, which know no function names.
        path: The package, ending in ``.mlpackage``.
        describe: Called with the model specification to fill in its metadata.
        overwrite: Replace a package at `path`.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: The package cannot be written.
        ValueError: What was written does not read back as it was.
    """
    program = Program()
    for name, function in functions.items():
        program.add_function(name, function)
    program.default_function_name = next(iter(functions))
    program.export_as_multifunction = program.default_function_name != "main"
    target = functions[program.default_function_name].opset_version
    # the functions are built in their final form: none of coremltools' optimisation passes has anything to do
    with atomic_folder(path, overwrite) as folder, TemporaryDirectory() as weights:
        try:
            spec = lower_program(program, weights, specification_version=target.value)
            describe(spec)
            seal(spec, Path(weights, WEIGHT_FILE.name))
            ct.utils.save_spec(spec, str(folder), weights_dir=weights)
        except RuntimeError as error:  # how coremltools' file writer reports a full disk
            raise OSError(errno.ENOSPC, f"cannot save: {os.strerror(errno.ENOSPC)}", str(path)) from error
        shutil.copymode(folder / "Manifest.json", folder / _MODEL)  # coremltools leaves it readable by its owner alone
        _check_saved(folder, functions)


def _check_saved(package: Path, functions: Mapping[str, Function]) -> None:
    spec, program = read_package(package)
    described = {function.name: function for function in spec.description.functions} or {"main": spec.description}
    for name, function in functions.items():
        wanted, there = _signature(function), described.get(name)
        saved = _signature(program.functions[name]) if name in program.functions else {}
        features = {feature.name for feature in (*there.input, *there.output, *there.state)} if there else set()
        if saved != wanted or features != wanted.keys():
            raise ValueError(f"export_coreml: {name} was saved with {saved}; expected {wanted}")
    for change in filter(None, changes_in(package)):
        raise ValueError(f"export_coreml: {change}")


def _signature(function: Function) -> dict[str, tuple[int | None, ...]]:
    """Shapes of all inputs, states and outputs by name."""
    return {var.name: shape_of(var) for var in (*function.inputs.values(), *function.outputs)}


def inputs_of(function: Function) -> dict[str, tuple[int | None, ...]]:
    """Shapes of the inputs by name, None where any size fits; states are no inputs."""
    return {name: shape_of(var) for name, var in function.inputs.items() if not types.is_state(var.sym_type)}


def shape_of(var: Var) -> tuple[int | None, ...]:
    """The shape of a MIL variable, None where any size fits."""
    return tuple(None if is_symbolic(size) else int(size) for size in var.shape)


def read_package(path: str | os.PathLike[str]) -> tuple[Any, Program]:
    """Read a package back through coremltools' own loader: its specification and its program, weights included.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable ML program package.
    """
    with _readable(path):
        model = ct.models.MLModel(str(path), skip_model_load=True)
        spec = model.get_spec()
        return spec, raise_program(spec, spec.specificationVersion, model.weights_dir)


def read_description(path: str | os.PathLike[str]) -> Any:
    """What a package says of itself, coremltools' ``ModelDescription``; its program may be anything.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable package.
    """
    with _readable(path):
        return ct.utils.load_spec(str(path)).description


def changes_in(path: str | os.PathLike[str]) -> Changes:
    """Say what has changed in a package since it was written; see `changes_since_sealed`.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable package.
    """
    with _readable(path):
        return changes_since_sealed(ct.utils.load_spec(str(path)), Path(path, _DATA, WEIGHT_FILE))


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    if not Path(path).is_dir():
        raise FileNotFoundError(f"no Core ML package at {str(path)!r}; expected a folder ending in {SUFFIX}")
    try:
        yield
    except Exception as error:  # a damaged package can raise almost anything
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{path}: not a readable ML program package: {reason}") from error

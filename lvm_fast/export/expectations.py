"""Writes and reads ``NAME.expected.safetensors``: inputs and expected outputs for each function of a package.

A device is compared with it: see `device`, and ``examples/swift``.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from .._util.atomic_files import atomic_path
from .._util.strict_json import read_json
from ..data.safetensors_file import read_tensors
from ..retrieval.bank import VectorBank
from .compression import LEAST_COSINES
from .exportable import Exportable, model_for_length
from .options import Options, expectations_path
from .probe_inputs import make_probe_inputs, run_model, sample_rows

_OLD_FILE = "expected.safetensors"  # earlier versions wrote one file for all packages of a folder
_MARK = {"lvm_fast": "expectations"}
_ABOUT = "{}/about"  # the key for facts on a package; no package can have this name, or that of the mark
_SCORE_ERROR = 0.01  # of a score of `topk`: float16 and int8 rows
_LONGEST = 4096  # vectors; a longer context would take too much room
_FLEXIBLE = 100  # vectors for a function that takes any length
_OUTPUTS = {**dict.fromkeys(("context", "vector"), ("next_vector", "delta")), "query": ("scores", "ids")}
_ABOUT_KEYS = {
    "model_type": str,
    "precision": str,
    "compress": str | None,
    "min_cosine": int | float,
    "max_score_error": int | float,
}

Parts: TypeAlias = dict[str, NDArray[Any]]  # inputs and outputs by name
Shape: TypeAlias = tuple[int | None, ...]


@contextmanager
def saved_expectations(
    package: Path, inputs: Mapping[str, Mapping[str, Shape]], model: Exportable, options: Options
) -> Iterator[None]:
    """Write the expected outputs beside a package; the file appears when the block has written the package.

    ``NAME.expected.safetensors`` beside ``NAME.mlpackage`` holds tensors ``NAME/<function>/<input or output>``, as
    torch computes them: float32, but int32 for ids. A tensor of ``step`` has a row for each call.

    Args:
        package: The package.
        inputs: The shapes of each function's inputs, None where any size fits; states are no inputs.
        model: The model.
        options: Those of the package.

    Raises:
        FileExistsError: Another kind of file has this name.
        OSError: The file cannot be written.
    """
    path = expectations_path(package)
    _check_ours(path)
    tensors = {f"{package.stem}/{name}": array for name, array in _expected(inputs, model, options)}
    about = {"model_type": model.model_type, "precision": options.precision, "compress": options.compress}
    limits = {"min_cosine": LEAST_COSINES[options.compress], "max_score_error": _SCORE_ERROR}
    metadata = {**_MARK, _ABOUT.format(package.stem): json.dumps({**about, **limits})}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
        yield


def read_expectations(package: Path) -> tuple[dict[str, Parts], dict[str, Any]]:
    """Read the expected outputs of a package; also those of earlier versions, which wrote one file a folder.

    Returns:
        Inputs and outputs of each function, by name; and facts on the package: "model_type", "precision", "compress",
        "min_cosine" (the least cosine of a device's ``next_vector`` and ``query`` with the expected one), and
        "max_score_error" (the largest error of a device's ``scores``).

    Raises:
        FileNotFoundError: There are no expectations of a package of this name beside it.
        ValueError: The file is damaged, or lacks a part.
    """
    path = expectations_path(package)
    if not path.exists():
        path = package.with_name(_OLD_FILE)
    functions: dict[str, Parts] = {}
    metadata: dict[str, str] = {}
    try:
        if path.exists():
            tensors, metadata = read_tensors(path)
            for name, tensor in tensors.items():
                stem, *place = name.split("/")
                if stem == package.stem and len(place) == 2:
                    functions.setdefault(place[0], {})[place[1]] = tensor.values
        if functions:
            _check_parts(functions)
            return functions, _about(metadata.get(_ABOUT.format(package.stem)))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; export {package.name} again") from error
    path = expectations_path(package)
    raise FileNotFoundError(errno.ENOENT, f"holds no expectations of {package.name}; export it again", str(path))


def _check_parts(functions: Mapping[str, Parts]) -> None:
    """Raise ValueError where a function lacks an input or an output, or they differ in their number of calls."""
    for function, parts in functions.items():
        given = next((name for name in _OUTPUTS if name in parts), "query")
        beside = parts.keys() - {given, *_OUTPUTS[given]}
        if beside - {"query"} or not parts.keys() >= {given, *_OUTPUTS[given]}:  # a query is an output of a space, too
            raise ValueError(f"of function {function!r} it has {', '.join(sorted(parts))}; expected inputs and outputs")
        if len({len(array) if array.ndim else 0 for array in parts.values()}) > 1:
            raise ValueError(f"the inputs and outputs of function {function!r} are not of as many calls")


def _about(text: str | None) -> dict[str, Any]:
    about = None if text is None else read_json(text)
    if not isinstance(about, dict) or not all(
        name in about and isinstance(about[name], kind) for name, kind in _ABOUT_KEYS.items()
    ):
        raise ValueError(f"what it says of the package is {text or 'missing'!s:.60}; expected {', '.join(_ABOUT_KEYS)}")
    return about


def _check_ours(path: Path) -> None:
    """Raise FileExistsError where this module did not write the file."""
    if not path.exists():
        return
    try:
        if read_tensors(path)[1].items() >= _MARK.items():
            return
    except (ValueError, OSError):
        pass
    raise FileExistsError(errno.EEXIST, "is no file of expectations; export into another folder", str(path))


def _expected(
    inputs: Mapping[str, Mapping[str, Shape]], model: Exportable, options: Options
) -> Iterator[tuple[str, NDArray[Any]]]:
    """Yield arrays, named ``<function>/<input or output>``."""
    rows = sample_rows(model.input_dim)
    for function, shapes in inputs.items():
        ((name, shape),) = shapes.items()
        length = shape[1] if name == "context" else None
        if (length or 0) > _LONGEST:
            continue
        used = model_for_length(model, length)
        longest = min(filter(None, (options.flexible, used.max_context, _FLEXIBLE)))
        input_shape = (1, length or longest, model.input_dim) if name == "context" else (1, model.input_dim)
        probes = make_probe_inputs(input_shape, used.max_context, rows, contexts=1)
        outputs = run_model(used, probes)
        if name == "query":
            parts = _nearest(outputs.searched, options)
        else:
            given = probes.context if name == "context" else probes.context[-1]
            parts = {name: given, **outputs.by_name()}
        for part, array in parts.items():
            yield f"{function}/{part}", np.ascontiguousarray(array)


def _nearest(queries: NDArray[np.float32], options: Options) -> Parts:
    assert options.bank is not None
    scores, ids = VectorBank(options.bank.rows).topk(queries, options.bank.k)
    return {"query": queries, "scores": scores, "ids": ids.astype(np.int32)}

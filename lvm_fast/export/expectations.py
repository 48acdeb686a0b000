"""``NAME.expected.safetensors``: inputs and outputs for each function of a package, to compare a device with."""

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
from .exportable import Exportable, arm_for
from .options import Options, expectations_path
from .probe_inputs import answers_of_model, questions_for, sample_rows

_OLD_FILE = "expected.safetensors"  # of all packages of a folder, as it used to be
_MARK = {"lvm_fast": "expectations"}
_ABOUT = "{}/about"  # the key of what is known of a package; no package can be called like it, nor like the mark
_SCORE_ERROR = 0.01  # of a cosine among the candidates of `topk`: half precision and int8 rows
_LONGEST = 4096  # vectors; what a longer context is to give is not worth its room
_FLEXIBLE = 100  # vectors for a function that takes any number
_OUTPUTS = {**dict.fromkeys(("context", "vector"), ("next_vector", "delta")), "query": ("scores", "ids")}
_KNOWN = {
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
    """Write what a package has to compute beside it, once the block has written it.

    The file ``NAME.expected.safetensors`` of ``NAME.mlpackage`` holds ``NAME/<function>/<input or output>``, float32
    (ids: int32), as the model gives them in torch: for ``step`` a row for each call.

    Args:
        package: The package.
        inputs: The shapes of each function's inputs, None where any size fits; states are no inputs.
        model: The model.
        options: What the package holds.

    Raises:
        FileExistsError: A file of this name is something else.
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
    """What a package has to compute; also of an earlier one, which shared a file with all packages of its folder.

    Returns:
        Inputs and outputs of each function, by name; and what is known of the package: "model_type", "precision",
        "compress", "min_cosine", the least cosine of a device's ``next_vector`` (and ``query``) with the expected one,
        and "max_score_error", the largest error of a device's ``scores``.

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
            return functions, _known(metadata.get(_ABOUT.format(package.stem)))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}; export {package.name} again") from error
    path = expectations_path(package)
    raise FileNotFoundError(errno.ENOENT, f"holds no expectations of {package.name}; export it again", str(path))


def _check_parts(functions: Mapping[str, Parts]) -> None:
    """Raise ValueError where a function lacks an input or an output, or they are not of as many calls."""
    for function, parts in functions.items():
        given = next((name for name in _OUTPUTS if name in parts), "query")
        beside = parts.keys() - {given, *_OUTPUTS[given]}
        if beside - {"query"} or not parts.keys() >= {given, *_OUTPUTS[given]}:  # a query is an output of a space, too
            raise ValueError(f"of function {function!r} it has {', '.join(sorted(parts))}; expected inputs and outputs")
        if len({len(array) if array.ndim else 0 for array in parts.values()}) > 1:
            raise ValueError(f"the inputs and outputs of function {function!r} are not of as many calls")


def _known(about: str | None) -> dict[str, Any]:
    known = None if about is None else read_json(about)
    if not isinstance(known, dict) or not all(
        name in known and isinstance(known[name], kind) for name, kind in _KNOWN.items()
    ):
        raise ValueError(f"what it says of the package is {about or 'missing'!s:.60}; expected {', '.join(_KNOWN)}")
    return known


def _check_ours(path: Path) -> None:
    """Raise FileExistsError where a file is none that this module wrote."""
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
    """Arrays by ``<function>/<input or output>``."""
    rows = sample_rows(model.input_dim)
    for function, shapes in inputs.items():
        ((name, shape),) = shapes.items()
        length = shape[1] if name == "context" else None
        if (length or 0) > _LONGEST:
            continue
        arm = arm_for(model, length)
        longest = min(filter(None, (options.flexible, arm.max_context, _FLEXIBLE)))
        asked = (1, length or longest, model.input_dim) if name == "context" else (1, model.input_dim)
        questions = questions_for(asked, arm.max_context, rows, contexts=1)
        answers = answers_of_model(arm, questions)
        if name == "query":
            parts = _nearest(answers.searched, options)
        else:
            given = questions.context if name == "context" else questions.context[-1]
            parts = {name: given, **answers.parts()}
        for part, array in parts.items():
            yield f"{function}/{part}", np.ascontiguousarray(array)


def _nearest(queries: NDArray[np.float32], options: Options) -> Parts:
    assert options.bank is not None
    scores, ids = VectorBank(options.bank.rows).topk(queries, options.bank.k)
    return {"query": queries, "scores": scores, "ids": ids.astype(np.int32)}

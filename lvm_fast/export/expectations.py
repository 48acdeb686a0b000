"""``expected.safetensors``: inputs and outputs for each function of a package, for a device to be compared with."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..files import atomic_path
from ..scoring import VectorBank
from .arms import Exportable, arm_for
from .compression import LEAST_COSINES
from .options import Options
from .questions import answers_of_model, questions_for, sample_rows

FILE = "expected.safetensors"
_MARK = {"lvm_fast": "expectations"}
_ABOUT = "{}/about"  # the key of what is known of a package; no package can be called like it, nor like the mark
_SCORE_ERROR = 0.01  # of a cosine among the candidates of `topk`: half precision and int8 rows
_LONGEST = 4096  # vectors; what a longer context is to give is not worth its room
_FLEXIBLE = 100  # vectors for a function that takes any number

Parts: TypeAlias = dict[str, NDArray[Any]]  # inputs and outputs by name
Shape: TypeAlias = tuple[int | None, ...]


@contextmanager
def saved_expectations(
    package: Path, inputs: Mapping[str, Mapping[str, Shape]], model: Exportable, options: Options
) -> Iterator[None]:
    """Write what a package has to compute into ``expected.safetensors`` beside it, once the block has written it.

    The file holds ``<package>/<function>/<input or output>``, float32 (ids: int32), as the model gives them in torch:
    for ``step`` a row for each call. What it says of other packages in the same folder stays.

    Args:
        package: The package.
        inputs: The shapes of each function's inputs, None where any size fits; states are no inputs.
        model: The model.
        options: What the package holds.

    Raises:
        FileExistsError: A file of this name is something else.
        OSError: The file cannot be written.
    """
    path = package.with_name(FILE)
    tensors, metadata = _others(path, package.stem)
    tensors |= {f"{package.stem}/{name}": array for name, array in _expected(inputs, model, options)}
    about = {"model_type": model.model_type, "precision": options.precision, "compress": options.compress}
    limits = {"min_cosine": LEAST_COSINES[options.compress], "max_score_error": _SCORE_ERROR}
    metadata[_ABOUT.format(package.stem)] = json.dumps({**about, **limits})
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))
        yield


def read_expectations(package: Path) -> tuple[dict[str, Parts], dict[str, Any]]:
    """What a package has to compute.

    Returns:
        Inputs and outputs of each function, by name; and what is known of the package: "model_type", "precision",
        "compress", "min_cosine", the least cosine of a device's ``next_vector`` with the expected one, and
        "max_score_error", the largest error of a device's ``scores``.

    Raises:
        FileNotFoundError: There are no expectations of a package of this name beside it.
    """
    path = package.with_name(FILE)
    functions: dict[str, Parts] = {}
    if path.exists():
        with safe_open(path, "numpy") as file:
            about: dict[str, str] = file.metadata() or {}
            for name in file.keys():  # noqa: SIM118
                stem, function, part = name.split("/")
                if stem == package.stem:
                    functions.setdefault(function, {})[part] = file.get_tensor(name)
    if not functions:
        raise FileNotFoundError(errno.ENOENT, f"holds no expectations of {package.name}; export it again", str(path))
    return functions, json.loads(about[_ABOUT.format(package.stem)])


def _others(path: Path, stem: str) -> tuple[Parts, dict[str, str]]:
    """What the file says of other packages."""
    if not path.exists():
        return {}, dict(_MARK)
    try:
        with safe_open(path, "numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            if metadata.items() >= _MARK.items():
                kept = [name for name in file.keys() if not name.startswith(f"{stem}/")]  # noqa: SIM118
                return {name: file.get_tensor(name) for name in kept}, metadata
    except (SafetensorError, OSError):
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
            parts = _nearest(answers.next_vector, options)
        else:
            given = questions.context if name == "context" else questions.context[-1]
            parts = {name: given, **answers._asdict()}
        for part, array in parts.items():
            yield f"{function}/{part}", np.ascontiguousarray(array)


def _nearest(queries: NDArray[np.float32], options: Options) -> Parts:
    assert options.bank is not None
    scores, ids = VectorBank(options.bank.rows).topk(queries, options.bank.k)
    return {"query": queries, "scores": scores, "ids": ids.astype(np.int32)}

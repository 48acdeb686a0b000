"""The seal of a package: digests of all that it holds, by which it tells that nothing has changed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

from ..package_metadata import KEY
from .canonical import digest_of, has_unknown_fields
from .weight_file import constants_in, weight_file_fault

_WEIGHTS, _PROGRAM, _DESCRIPTION = (f"{KEY}{part}_sha256" for part in ("weights", "program", "description"))


class Changes(NamedTuple):
    """A sentence on each part of a package that is not as it was written: weight file, program, and all else."""

    weights: str | None
    program: str | None
    description: str | None


def seal(spec: Any, weights: Path) -> None:
    """Put the digests into the metadata of a specification that is otherwise whole.

    Args:
        spec: coremltools' specification.
        weights: Its weight file, which need not be there.
    """
    about = spec.description.metadata.userDefined
    about[_WEIGHTS] = _digest_of_file(weights)
    about[_PROGRAM] = digest_of(spec.mlProgram)
    about[_DESCRIPTION] = _digest_of_description(spec)


def changes_since_sealed(spec: Any, weights: Path) -> Changes:
    """Say what has changed in a package since it was written; of one without a seal, what cannot have been so.

    Earlier packages have no seal. One that has lost a part of its seal has changed.

    Args:
        spec: coremltools' specification, as it was read.
        weights: The weight file.
    """
    about = spec.description.metadata.userDefined
    wanted = {
        _WEIGHTS: _digest_of_file(weights),
        _PROGRAM: digest_of(spec.mlProgram),
        _DESCRIPTION: _digest_of_description(spec),
    }
    is_sealed = any(part in about for part in wanted)
    broken = {part for part, digest in wanted.items() if is_sealed and about.get(part) != digest}
    if has_unknown_fields(spec.mlProgram):
        broken.add(_PROGRAM)
    elif has_unknown_fields(spec):
        broken.add(_DESCRIPTION)
    fault = weight_file_fault(weights, constants_in(spec.mlProgram))
    if fault is None and _WEIGHTS in broken:
        fault = "the weight file is not the one that was exported"
    return Changes(
        fault,
        "the program is not the one that was exported" if _PROGRAM in broken else None,
        "what the package says of itself is not what was exported" if _DESCRIPTION in broken else None,
    )


def _digest_of_description(spec: Any) -> str:
    """Of all but the program and this digest."""
    other = type(spec)()
    other.CopyFrom(spec)
    other.ClearField("mlProgram")
    if _DESCRIPTION in other.description.metadata.userDefined:
        del other.description.metadata.userDefined[_DESCRIPTION]
    return digest_of(other)


def _digest_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    if path.exists():
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()

"""Writes and reads Core AI assets (``.aimodel``): the program, its constants, the metadata and the seal over them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..._util.atomic_files import atomic_folder, check_room
from ..compression import Palettized, Quantized, Stored
from ..package import METADATA_PREFIX
from . import SUFFIX
from .apple import (
    CONSTANT,
    INT8,
    PALETTE,
    AIModelAsset,
    AIModelAssetMetadata,
    AIProgram,
    bytes_of,
    functions_in,
    operations_in,
    own_metadata,
    value_of,
)
from .functions import parts_of

_PROGRAM, _HASH, _ABOUT = "main.mlirb", "main.hash", "metadata.json"  # Apple's names
_SEALED = f"{METADATA_PREFIX}program_sha256", f"{METADATA_PREFIX}description_sha256"
_CONSTANTS = f"{METADATA_PREFIX}constants"
_ROOM = 1 << 16  # bytes for the metadata
_OWN = ("author", "license", "model_description")


def write_asset(
    program: AIProgram,
    path: str | os.PathLike[str],
    functions: list[str],
    about: AIModelAssetMetadata,
    overwrite: bool = False,
) -> None:
    """Write a program as an asset, atomically, once it reads back with the same functions.

    Args:
        program: The program.
        path: The asset, ending in ``.aimodel``.
        functions: The names that it has to have, in order.
        about: What it says of itself; it gets digests of the program and of the rest beside.
        overwrite: Replace an asset at `path`.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: The asset cannot be written.
        ValueError: What was written does not read back as it was.
    """
    with atomic_folder(path, overwrite) as folder:
        try:
            asset = save_program(program, folder, about)
            asset.update_metadata(lambda written: _seal(written, folder))
        except RuntimeError as error:  # how Apple's writer reports whatever went wrong
            reason = str(error.__cause__ or error).split("\n", 1)[0]
            raise OSError(errno.EIO, f"cannot save: {reason}", str(path)) from error
        found = list(functions_in(AIModelAsset.load(folder).program))
        if found != functions:
            raise ValueError(
                f"export_coreai: {path} was saved with {', '.join(found)}; expected {', '.join(functions)}"
            )


def save_program(program: AIProgram, path: Path, about: AIModelAssetMetadata | None = None) -> AIModelAsset:
    """Write a program as an asset that nobody but this process needs, with no seal.

    Raises:
        OSError: There is no room for it.
        RuntimeError: Apple's writer failed.
    """
    check_room(path.parent, bytes_of(program) + _ROOM)  # that writer ends the process where there is none
    return program.save_asset(path, about)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return the user-defined metadata of an asset, by name; its program may be anything.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable asset.
    """
    with _readable(path):
        return own_metadata(AIModelAsset.load(Path(path)).metadata)


def changes_in(path: str | os.PathLike[str]) -> list[str]:
    """Return a sentence on each part of an asset that is not as it was written; none where nothing has changed.

    Raises:
        FileNotFoundError: There is no folder at `path`.
        ValueError: It is not a readable asset.
    """
    with _readable(path):
        folder = Path(path)
        about = AIModelAsset.load(folder).metadata
        sealed = [own_metadata(about).get(name) for name in _SEALED]
        digest = _digest_of_program(folder)
        changes = []
        if digest != sealed[0] or digest != (folder / _HASH).read_bytes().hex():
            changes.append("the program is not the one that was exported")
        if _digest_of_description(about) != sealed[1]:
            changes.append("what the asset says of itself is not what was exported")
        for name in sorted({item.name for item in folder.iterdir()} - {_PROGRAM, _HASH, _ABOUT}):
            changes.append(f"it holds {name}, which was not exported")
        return changes


def note_constants(about: AIModelAssetMetadata, constants: Mapping[str, Stored]) -> None:
    """Put a digest of each constant into the metadata of an asset, by name."""
    about.set_custom(_CONSTANTS, {name: digest_of(stored) for name, stored in constants.items()})


def stored_constants(path: str | os.PathLike[str], metadata: Mapping[str, Any]) -> dict[str, dict[str, Stored]]:
    """Return the constants of each function of an asset, by the names that its metadata has for their digests.

    One that has no name there, because it is not what was exported, is called by its form.

    Raises:
        ValueError: The asset is not readable, or holds a compressed constant of a form that we do not write.
    """
    names: dict[str, list[str]] = {}
    for name, digest in metadata.get(_CONSTANTS, {}).items():
        names.setdefault(digest, []).append(name)
    with _readable(path):
        program = AIModelAsset.load(Path(path)).program  # kept: its functions are empty without it
        found = {name: list(_constants_of(graph)) for name, graph in functions_in(program).items()}
    named: dict[str, dict[str, Stored]] = {}
    for function, constants in found.items():
        named[function] = {}
        for stored in constants:
            known = names.get(digest_of(stored))
            if known is not None:
                named[function].update(dict.fromkeys(known, stored))
            elif _could_be_weight(stored):
                named[function][f"a constant {stored.dtype} {stored.shape}"] = stored
    return named


def digest_of(stored: Stored) -> str:
    """Return the SHA-256 of a constant's form and numbers."""
    digest = hashlib.sha256()
    for part, array in parts_of(stored).items():
        digest.update(f"{part} {array.dtype} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _constants_of(graph: Any) -> Iterator[Stored]:
    """Yield the constants of a function; the parts of a compressed one come as one."""
    operations, parts = list(operations_in(graph)), set()
    for operation in operations:
        if operation.name == INT8:
            data, scale, *_ = operation.operands
            parts |= {each.owner for each in operation.operands}
            yield Quantized(_value(data), _value(scale))
        elif operation.name == PALETTE:
            indices, palettes, *_ = operation.operands
            parts |= {each.owner for each in operation.operands}
            yield Palettized(_value(indices), _value(palettes))
    for operation in operations:
        if operation.name == CONSTANT and operation not in parts:
            yield value_of(operation)


def _value(operand: Any) -> NDArray[Any]:
    owner = operand.owner
    if owner.name != CONSTANT:
        raise ValueError(f"a compressed constant made by {owner.name}, unknown here; expected {CONSTANT}")
    return value_of(owner)


def _could_be_weight(stored: Stored) -> bool:
    """Tell weights from what any program has: shapes, places, numbers that are all the same."""
    if isinstance(stored, Quantized | Palettized):
        return True
    if stored.dtype.kind != "f" or stored.size < 2:
        return False
    places = np.arange(stored.size).reshape(stored.shape)
    return not (np.array_equal(stored, places) or np.array_equal(stored, np.full_like(stored, stored.flat[0]), True))


def _seal(about: AIModelAssetMetadata, folder: Path) -> None:
    """Put the digests into metadata that is otherwise whole."""
    about.set_custom(_SEALED[0], _digest_of_program(folder))
    about.set_custom(_SEALED[1], _digest_of_description(about))


def _digest_of_program(folder: Path) -> str:
    digest = hashlib.sha256()
    with open(folder / _PROGRAM, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _digest_of_description(about: AIModelAssetMetadata) -> str:
    """Return the SHA-256 of all metadata but this digest."""
    known = {name: value for name, value in own_metadata(about).items() if name != _SEALED[1]}
    own = {name: getattr(about, name) for name in _OWN}
    return hashlib.sha256(json.dumps([own, known], sort_keys=True).encode()).hexdigest()


@contextmanager
def _readable(path: str | os.PathLike[str]) -> Iterator[None]:
    if not Path(path).is_dir():
        raise FileNotFoundError(f"no Core AI asset at {str(path)!r}; expected a folder ending in {SUFFIX}")
    try:
        yield
    except Exception as error:  # a damaged asset can raise almost anything
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"{path}: not a readable Core AI asset: {reason}") from error

"""What a package of ours says of itself, in its user-defined metadata: read, and checked, before its program."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .._util.strict_json import read_json
from ..models.model_types import MODELS
from .candidate_bank import BANK_DTYPES
from .compression import COMPRESSIONS
from .exportable import space_kinds
from .options import PRECISIONS

KEY = "lvm_fast."  # prefix of our user-defined metadata


class BankFacts(NamedTuple):
    """Of the candidates inside a package: how they are stored, how many are found, and the digest of their rows."""

    dtype: str
    topk: int
    sha256: str


class Facts(NamedTuple):
    """What a verification has to know.

    Attributes:
        model_type: Of the model, or "router".
        input_dim: Width D of the vectors.
        spaces: The kind of the model's space, None where it has none; of a router, those of its arms.
        functions: Names of all functions, in order.
        precision: "float16" or "float32".
        compress: How matrices are stored, or None.
        flexible: The most vectors that ``predict`` takes, where there is one.
        bank: Of the candidates, where there are some.
    """

    model_type: str
    input_dim: int
    spaces: tuple[str | None, ...]
    functions: tuple[str, ...]
    precision: str
    compress: str | None
    flexible: int | None
    bank: BankFacts | None


def read_facts(path: str | os.PathLike[str]) -> Facts:
    """Read the facts of a package.

    Raises:
        FileNotFoundError: There is no package at `path`.
        ValueError: It is not readable, not ours, or a fact is missing or makes no sense.
    """
    from .package.package import read_description

    said = {
        name.removeprefix(KEY): value
        for name, value in read_description(path).metadata.userDefined.items()
        if name.startswith(KEY)
    }
    if "model_type" not in said:
        raise ValueError(f"verify_coreml: {path} was not exported by lvm_fast")
    try:
        compress = _fact(said, "compress", str, lambda how: how in (*COMPRESSIONS, "none"), "a compression or none")
        config = _fact(said, "config", read_json, _has_width, "JSON with input_dim")
        _fact(said, "config", read_json, _has_kinds, "a kind for each space")
        model_type = said["model_type"]
        return Facts(
            MODELS.current_name(model_type) if model_type in MODELS else model_type,
            config["input_dim"],
            space_kinds(config),
            tuple(_fact(said, "functions", read_json, _is_names, "a JSON list of names")),
            _fact(said, "precision", str, lambda name: name in PRECISIONS, " or ".join(PRECISIONS)),
            None if compress == "none" else compress,
            _fact(said, "flexible", read_json, lambda most: most is None or _is_count(most), "null or a number"),
            _bank_facts(said),
        )
    except ValueError as error:
        raise ValueError(f"verify_coreml: {path} is damaged: {error}; export it again") from error


def _bank_facts(said: Mapping[str, str]) -> BankFacts | None:
    if "bank" not in said:
        return None
    bank = _fact(said, "bank", read_json, _is_bank, "JSON with dtype, topk and sha256")
    return BankFacts(bank["dtype"], bank["topk"], bank["sha256"])


def _fact(
    said: Mapping[str, str], name: str, read: Callable[[str], Any], fits: Callable[[Any], bool], expected: str
) -> Any:
    try:
        value = read(said[name])
        makes_sense = fits(value)
    except (KeyError, ValueError):
        makes_sense = False
    if not makes_sense:
        found = f"{said[name]:.60}" if name in said else "missing"
        raise ValueError(f"{KEY}{name} is {found}; expected {expected}")
    return value


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _has_width(config: object) -> bool:
    return isinstance(config, dict) and _is_count(config.get("input_dim"))


def _has_kinds(config: Any) -> bool:
    try:
        return all(kind is None or isinstance(kind, str) for kind in space_kinds(config))
    except (AttributeError, KeyError, TypeError):
        return False


def _is_names(functions: object) -> bool:
    return isinstance(functions, list) and bool(functions) and all(isinstance(name, str) for name in functions)


def _is_bank(bank: object) -> bool:
    if not isinstance(bank, dict):
        return False
    return bank.get("dtype") in BANK_DTYPES and _is_count(bank.get("topk")) and isinstance(bank.get("sha256"), str)

"""A router on disk: one folder with ``router.json``, the bank, and a folder for each arm."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

from .._util.atomic_files import atomic_folder, made_folder
from .._version import __version__
from ..models.base import LatentVectorModel
from ..models.pretrained import load_single_model
from ..models.saving import CARD, ROUTER, json_text
from ..retrieval.bank import VectorBank

BANK = "bank.safetensors"


class RouterParts(NamedTuple):
    """The contents of a router's folder.

    Attributes:
        place: The file that describes the rest.
        arms: Models by the longest context of each, in units.
        unit: "vectors" or "tokens".
        bank: The candidates, or None.
        threshold: As saved: nothing has been checked.
        metrics: What is known of its quality.
    """

    place: Path
    arms: dict[int, LatentVectorModel]
    unit: Any
    bank: VectorBank | None
    threshold: Any
    metrics: dict[str, Any]


def save_router(router: Any, folder: str | os.PathLike[str]) -> None:
    """Save a router as one folder; see `Router.save_pretrained`."""
    place = Path(folder)
    if place.exists() and not (place / ROUTER).exists() and (place.is_file() or any(place.iterdir())):
        raise FileExistsError(errno.EEXIST, "holds something that is no router; choose another folder", str(folder))
    arms = {limit: f"arm-{limit}" for limit in router.limits}
    described = {
        "unit": router.unit,
        "arms": arms,
        "threshold": router.threshold,
        "bank": BANK if router.bank is not None else None,
        "metrics": router.metrics,
        "lvm_fast_version": __version__,
    }
    with made_folder(place.absolute().parent), atomic_folder(place, overwrite=True) as temporary:
        for name, arm in zip(arms.values(), router.arms.values(), strict=True):
            arm.save_pretrained(temporary / name)
        if router.bank is not None:
            router.bank.save(temporary / BANK)
        (temporary / CARD).write_text(_card(router), encoding="utf-8")
        (temporary / ROUTER).write_text(json_text(described), encoding="utf-8")


def load_parts(folder: str | os.PathLike[str]) -> RouterParts:
    """Read what a router's folder holds; see `Router.load`."""
    place = Path(folder) / ROUTER
    if not place.exists():
        raise FileNotFoundError(f"Router.load: no router at {os.fspath(folder)!r}; expected a folder with {ROUTER}")
    try:
        described = json.loads(place.read_text(encoding="utf-8"))
        names = {int(limit): _inside(folder, name) for limit, name in described["arms"].items()}
        unit, threshold, bank = (described[key] for key in ("unit", "threshold", "bank"))
        bank = None if bank is None else _inside(folder, bank)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place}: expected JSON with 'unit', 'arms', 'threshold' and 'bank'") from error
    arms = {limit: load_single_model(name) for limit, name in names.items()}
    opened = None if bank is None else VectorBank.open(bank)
    metrics = described.get("metrics")
    return RouterParts(place, arms, unit, opened, threshold, dict(metrics) if isinstance(metrics, dict) else {})


def _inside(folder: str | os.PathLike[str], name: Any) -> Path:
    """Return a part of the folder; raises ValueError for a name that leads out of it."""
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is no name of a part")
    return Path(folder) / name


def _card(router: Any) -> str:
    dim = router.input_dim
    rows = "\n".join(
        f"| {longest} | {arm.model_type} | {sum(parameter.numel() for parameter in arm.parameters()):,} |"
        for longest, arm in router.arms.items()
    )
    return f"""---
library_name: lvm_fast
tags: [latent-vector-model, router]
---
# A router of latent vector models

Each context of N text-chunk embeddings (N x {dim}) goes to the arm for its length, which predicts the embedding of
the next chunk. Saved by lvm_fast {__version__}.

| contexts of up to (vectors) | model | parameters |
|---|---|---|
{rows}

What is longer than all of these goes to the last arm. Of a context too long for it, an arm sees the last vectors.
{_sureness(router)}
## How to use it
```python
import lvm_fast as lf

router = lf.Router.load("path/to/this/folder")
next_vector = router.predict(context)  # context (B, N, {dim}), oldest vector first -> unit vectors (B, {dim})
```
Use the same text encoder as in training. `lvm-fast evaluate` says how often each arm answers, how quickly and how well.
"""


def _sureness(router: Any) -> str:
    if router.threshold is None or router.bank is None:
        return ""
    return (
        "\nEach longer context is first asked of the first arm, whose answer stands where its best score among "
        f"{len(router.bank):,} vectors leads the second best by at least {router.threshold:.4g}.\n"
    )

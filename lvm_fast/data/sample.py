"""Opens the real sample: State of the Union addresses, which the package lvm-fast-sample holds (`examples/sample`)."""

from __future__ import annotations

import importlib.util
import json
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .chain_store import ChainStore

_PACKAGE = "lvm_fast_sample"
_IN_A_CLONE = Path("examples", "sample", _PACKAGE)
_STORE = "sotu-sample.safetensors"
_INSTALL = (
    "the sample is not installed; `pip install lvm-fast-sample` brings it, `pip install ./examples/sample` in a clone"
)


def sample() -> ChainStore:
    """Open the sample: 120 addresses of US presidents, 1790-2021, as 768-dimensional chunk vectors (int8).

    Raises:
        ModuleNotFoundError: It is not installed; the message says how to install it.
    """
    path = sample_path()
    if path is None:
        raise ModuleNotFoundError(_INSTALL, name=_PACKAGE)
    return ChainStore.open(path)


def sample_path() -> Path | None:
    """Return the store's file: of the package lvm-fast-sample, or of the clone that lvm_fast was installed from."""
    places = [folder / _STORE for folder in (_installed(), _of_the_clone()) if folder is not None]
    return next((path for path in places if path.is_file()), None)


def _installed() -> Path | None:
    found = importlib.util.find_spec(_PACKAGE)
    places = (found.submodule_search_locations or []) if found else []
    return Path(places[0]) if places else None


def _of_the_clone() -> Path | None:
    """Return the sample's folder in the folder that installers say they installed lvm_fast from (PEP 610)."""
    try:
        origin = json.loads(distribution("lvm_fast").read_text("direct_url.json") or "{}")
    except PackageNotFoundError:
        return None
    if "dir_info" not in origin:
        return None
    return Path(url2pathname(urlsplit(origin["url"]).path)) / _IN_A_CLONE

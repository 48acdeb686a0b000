"""Import paths of version 0.1 for what is public: they lead to the modules that hold these names now."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = __name__.partition(".")[0]
MOVED = {
    "kernels": "ops",
    "gru": "layers.gru",
    "lstm": "layers.lstm",
    "scoring": "retrieval.bank",
    "sharded": "retrieval.sharded",
    "device": "_util.device",
    "files": "_util.atomic_files",
    "data.store": "data.chain_store",
    "data.search": "retrieval.search",
    "data.mining": "retrieval.mining",
    "data.mined": "retrieval.mined",
    "data.given_windows": "data.windows",
    "models.champion": "models.recency_mixer",
    "inference.streaming": "inference.stream",
    "training.trainer": "training.fit",
    "training.loss": "training.objectives",
    "training.infonce": "ops.infonce",
    "evaluation.routers": "evaluation.evaluate_router",
    "evaluation.words": "evaluation.report_markdown",
    "evaluation.plot": "evaluation.report_plot",
}


class _OldPath(Loader):
    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__.removeprefix(f"{PACKAGE}.")
        sys.modules[module.__name__] = import_module(f"{PACKAGE}.{MOVED[old]}")


class OldPaths(MetaPathFinder):
    """Finds a module under its old path; it is the very module that the new path gives."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, old = fullname.partition(".")
        return ModuleSpec(fullname, _OldPath()) if root == PACKAGE and old in MOVED else None


def keep_old_paths() -> None:
    """Let the import system find the old paths, after all others."""
    if not any(isinstance(finder, OldPaths) for finder in sys.meta_path):
        sys.meta_path.append(OldPaths())

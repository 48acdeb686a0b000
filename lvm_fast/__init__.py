"""lvm_fast: fast, exact, honest Latent Vector Models.

Names load on first use, so `import lvm_fast` costs milliseconds and pulls in neither torch nor coremltools.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME_OF = {
    "l2_normalize": "kernels",
    "reconstruct": "kernels",
    "VectorBank": "scoring",
    "hit_at_k": "scoring",
    "ShardedBank": "sharded",
    "ChainStore": "data.store",
    "split_chains": "data.split",
    "Windows": "data.windows",
    "sample": "data.sample",
    "search": "data.search",
    "mine": "data.mining",
    "MinedNegatives": "data.mined",
    "Space": "spaces.space",
    "fit_space": "spaces.space",
    "GRU": "gru",
    "create_model": "models.registry",
    "load_model": "models.pretrained",
    "Router": "inference.router",
    "Recipe": "training.recipe",
    "train": "training.trainer",
    "evaluate": "evaluation.evaluate",
    "evaluate_router": "evaluation.routers",
    "calibrate_router": "evaluation.calibrate",
    "export_coreml": "export.coreml",
    "verify_coreml": "export.verify",
}

_MODULES = ("kernels", "ops", "scoring")

__all__ = ["__version__", *_HOME_OF]

if TYPE_CHECKING:
    from .data.mined import MinedNegatives as MinedNegatives
    from .data.mining import mine as mine
    from .data.sample import sample as sample
    from .data.search import search as search
    from .data.split import split_chains as split_chains
    from .data.store import ChainStore as ChainStore
    from .data.windows import Windows as Windows
    from .evaluation.calibrate import calibrate_router as calibrate_router
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.routers import evaluate_router as evaluate_router
    from .export.coreml import export_coreml as export_coreml
    from .export.verify import verify_coreml as verify_coreml
    from .gru import GRU as GRU
    from .inference.router import Router as Router
    from .kernels import l2_normalize as l2_normalize
    from .kernels import reconstruct as reconstruct
    from .models.pretrained import load_model as load_model
    from .models.registry import create_model as create_model
    from .scoring import VectorBank as VectorBank
    from .scoring import hit_at_k as hit_at_k
    from .sharded import ShardedBank as ShardedBank
    from .spaces.space import Space as Space
    from .spaces.space import fit_space as fit_space
    from .training.recipe import Recipe as Recipe
    from .training.trainer import train as train


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return _load(name)
    if name not in _HOME_OF:
        raise AttributeError(f"module 'lvm_fast' has no attribute {name!r}")
    value = getattr(_load(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def _load(module: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(f"{__name__}.{module}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}._core":
            raise
        raise ImportError(missing_core()) from error


def missing_core() -> str:
    """What to say where the package has been found without its compiled core."""
    return (
        f"lvm_fast was found in its source folder ({__path__[0]}), which has no compiled core; "
        "start Python in another folder, or install with `pip install -e .`"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})

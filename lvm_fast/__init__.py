"""lvm_fast: fast, exact, honest Latent Vector Models.

Names load on first use, so `import lvm_fast` costs milliseconds and pulls in neither torch nor coremltools.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

from ._util.old_paths import keep_old_paths
from ._version import __version__

_HOME_OF = {
    "l2_normalize": "ops.rowwise",
    "reconstruct": "ops.rowwise",
    "VectorBank": "retrieval.bank",
    "hit_at_k": "retrieval.hit_at_k",
    "ShardedBank": "retrieval.sharded",
    "ChainStore": "data.chain_store",
    "read_documents": "data.documents",
    "SentenceEncoder": "data.sentence_encoder",
    "encode_documents": "data.encode",
    "split_chains": "data.split",
    "Windows": "data.windows",
    "sample": "data.sample",
    "search": "retrieval.search",
    "mine": "retrieval.mining",
    "MinedNegatives": "retrieval.mined",
    "Space": "spaces.space",
    "fit_space": "spaces.space",
    "GRU": "layers.gru",
    "LSTM": "layers.lstm",
    "accelerate": "layers.accelerate",
    "create_model": "models.registry",
    "load_model": "models.pretrained",
    "from_pretrained": "models.hub",
    "Router": "inference.router",
    "adapt_to": "inference.adapt",
    "predict_text": "inference.predict_text",
    "TextPredictor": "inference.predict_text",
    "Recipe": "training.recipe",
    "train": "training.fit",
    "evaluate": "evaluation.evaluate",
    "compare": "evaluation.compare",
    "evaluate_router": "evaluation.evaluate_router",
    "calibrate_router": "evaluation.calibrate",
    "export_coreml": "export.coreml",
    "verify_coreml": "export.verify",
    "export_coreai": "export.coreai.export",
    "verify_coreai": "export.coreai.verify",
}

_MODULES = ("adapters", "kernels", "ops", "scoring")  # two of them by their old paths

keep_old_paths()

__all__ = ["__version__", *_HOME_OF]

if TYPE_CHECKING:
    from .data.chain_store import ChainStore as ChainStore
    from .data.documents import read_documents as read_documents
    from .data.encode import encode_documents as encode_documents
    from .data.sample import sample as sample
    from .data.sentence_encoder import SentenceEncoder as SentenceEncoder
    from .data.split import split_chains as split_chains
    from .data.windows import Windows as Windows
    from .evaluation.calibrate import calibrate_router as calibrate_router
    from .evaluation.compare import compare as compare
    from .evaluation.evaluate import evaluate as evaluate
    from .evaluation.evaluate_router import evaluate_router as evaluate_router
    from .export.coreai.export import export_coreai as export_coreai
    from .export.coreai.verify import verify_coreai as verify_coreai
    from .export.coreml import export_coreml as export_coreml
    from .export.verify import verify_coreml as verify_coreml
    from .inference.adapt import adapt_to as adapt_to
    from .inference.predict_text import TextPredictor as TextPredictor
    from .inference.predict_text import predict_text as predict_text
    from .inference.router import Router as Router
    from .layers.accelerate import accelerate as accelerate
    from .layers.gru import GRU as GRU
    from .layers.lstm import LSTM as LSTM
    from .models.hub import from_pretrained as from_pretrained
    from .models.pretrained import load_model as load_model
    from .models.registry import create_model as create_model
    from .ops.rowwise import l2_normalize as l2_normalize
    from .ops.rowwise import reconstruct as reconstruct
    from .retrieval.bank import VectorBank as VectorBank
    from .retrieval.hit_at_k import hit_at_k as hit_at_k
    from .retrieval.mined import MinedNegatives as MinedNegatives
    from .retrieval.mining import mine as mine
    from .retrieval.search import search as search
    from .retrieval.sharded import ShardedBank as ShardedBank
    from .spaces.space import Space as Space
    from .spaces.space import fit_space as fit_space
    from .training.fit import train as train
    from .training.recipe import Recipe as Recipe


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
    """Return the message for a package that was found without its compiled core."""
    return (
        f"lvm_fast was found in its source folder ({__path__[0]}), which has no compiled core; "
        "start Python in another folder, or install with `pip install -e .`"
    )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})

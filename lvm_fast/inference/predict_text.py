"""Predicts what comes after a text: encodes it, asks a model, and finds the nearest chunks of a store."""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from .._util.numbers import whole_number
from .._util.text import check_unicode
from ..data.documents import Document
from ..data.encode import encode_context
from ..data.source import open_source
from ..models.base import LatentVectorModel
from ..models.pretrained import is_packaged, load_model
from ..retrieval.search import ChunkSearch, Hit
from .adapt import adapt_to
from .router import reach_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..data.chain_store import ChainStore
    from ..data.encode import Encoder
    from ..retrieval.chunk_texts import ChunkTexts

    Rows = NDArray[np.float32]

USUAL_CONTEXT = 100  # vectors, where neither model nor caller says more
_CHUNK_TOKENS = 20  # where the store does not say
_REMEMBERED = 4096  # chunks whose vectors are kept

Value = TypeVar("Value")


@dataclass(frozen=True)
class ReadText:
    """A text as a model reads it.

    Attributes:
        vectors: Unit vectors of its last chunks, (n, D), the last chunk last.
        chunks: How many chunks the text has.
    """

    vectors: Rows
    chunks: int


class TextPredictor:
    """Predicts what comes after texts, one after another: encoder, model and candidates are made ready once.

    What it has encoded it remembers, so a text that grows costs its new chunks only.

    Attributes:
        model: A model or router.
        search: The store, packed for search.
        longest: The most vectors that the model is given.
    """

    def __init__(
        self,
        model: Any,
        store: ChainStore,
        encoder: Encoder | None = None,
        *,
        texts: ChunkTexts | None = None,
        context_length: int | None = None,
        weights: str = "float32",
    ) -> None:
        """Get ready.

        Args:
            model: A `LatentVectorModel` or `Router`.
            store: The chunks to find, of the model's width.
            encoder: Turns texts into vectors of the kind that the store holds; not needed for vectors.
            texts: What the chunks say; beside the store's file unless given.
            context_length: The most vectors that the model is given; all it can read, or 100, unless given.
            weights: As `LatentVectorModel.predict` takes them.

        Raises:
            ValueError: The store has another width than the model reads, or an argument does not fit.
        """
        if store.dim != model.input_dim:
            expected = f"expected {model.input_dim}, as the model reads"
            raise ValueError(f"predict: the store has {store.dim} dimensions; {expected}")
        if context_length is not None:
            context_length = whole_number(context_length, "predict: context_length", least=1)
        self.model, self.longest = model, context_length or reach_of(model) or USUAL_CONTEXT
        self._has_keys = isinstance(model, LatentVectorModel) and not model.searches_plainly
        self.search = ChunkSearch(store, texts, model.bank(store) if self._has_keys else None)
        self._encoder = None if encoder is None else _Remembering(encoder)
        self._weights = weights
        tokens = store.metadata.get("chunk_tokens")
        self._chunk_tokens = tokens if isinstance(tokens, int) else _CHUNK_TOKENS

    def read(self, document: Document) -> ReadText:
        """Cut a text into chunks as the store's are, and encode the last of them.

        Raises:
            ValueError: There is no encoder, the text is empty, or the encoder gives vectors of another width.
        """
        if self._encoder is None:
            raise ValueError("predict: there is no encoder to read a text with; name one")
        rows, chunks = encode_context(document, self._encoder, self.longest, self._chunk_tokens)
        if rows.shape[1] != self.search.store.dim:
            given = f"{self._encoder.name} gives vectors of {rows.shape[1]} numbers"
            raise ValueError(f"predict: {given}; expected {self.search.store.dim}, as in the store")
        return ReadText(rows, chunks)

    def next_chunks(self, vectors: Rows, k: int = 10) -> list[Hit]:
        """Return the k chunks that come next after vectors (n, D) most likely, near-copies of these left out.

        They are the nearest to the prediction; for a model with keys of its own, to its query among them.

        Raises:
            ValueError: The vectors do not fit, or `k` is below 1.
        """
        (hits,) = self.search.nearest(self._query(vectors), k, unlike=vectors, fold_copies=True)
        return hits

    def next_and_nearest(self, vectors: Rows, k: int = 10) -> tuple[list[Hit], list[Hit]]:
        """Return what `next_chunks` does, and the k chunks nearest to the last vector.

        A sentence that stands in several places comes once; where else it stands is not told.
        """
        options: dict[str, Any] = {"unlike": vectors, "fold_copies": True, "find_copies": False}
        if self._has_keys:
            (coming,) = self.search.nearest(self._query(vectors), k, **options)
            (nearest,) = self.search.nearest(vectors[-1:], k, among_vectors=True, **options)
            return coming, nearest
        both = self.search.nearest(np.concatenate([self._query(vectors), vectors[-1:]]), k, **options)
        return both[0], both[1]

    def _query(self, vectors: Rows) -> Rows:
        """Return what to search with, (1, K)."""
        asked = self.model.query if self._has_keys else self.model.predict
        rows: Rows = asked(vectors[None], weights=self._weights)
        return rows


def predict_text(
    model: Any,
    text: str | Document,
    store: ChainStore | str | os.PathLike[str],
    k: int = 5,
    *,
    encoder: Encoder | str | None = None,
    context_length: int | None = None,
    weights: str = "float32",
) -> list[Hit]:
    """Predict what comes after a text: the chunks of a store nearest to the prediction, best first.

    What the text has said, and near-copies of it, are left out; a sentence that stands in several places comes once.
    For many texts make one `TextPredictor`.

    Args:
        model: A model or router, the path of one, or "general": the model that comes with the package, which takes on
            the space of the store.
        text: The text so far, or a `Document`.
        store: The chunks to find: a `ChainStore`, its path, or "sample".
        k: How many.
        encoder: Turns text into vectors: an `Encoder`, or the name or folder of a sentence-transformers model; the one
            that the store was encoded with unless given.
        context_length: The most chunks that the model is given; all it can read, or 100, unless given.
        weights: As `LatentVectorModel.predict` takes them.

    Returns:
        At most k hits: `score` (the cosine with the prediction; in a space that of query and key), `chain`, `position`,
        and `text` where the store has texts.

    Raises:
        ImportError: sentence-transformers is needed and not installed.
        ValueError: The text is empty, widths differ, the store names no encoder, or an argument does not fit.
    """
    opened = open_source(store, "predict_text: store")
    asked = adapted(model, opened) if isinstance(model, str | os.PathLike) else model
    document = text if isinstance(text, Document) else Document("the text", _checked(text))
    ready = TextPredictor(
        asked, opened, encoder_of(opened, encoder, "predict_text"), context_length=context_length, weights=weights
    )
    return ready.next_chunks(ready.read(document).vectors, k)


def adapted(path: str | os.PathLike[str], store: ChainStore) -> Any:
    """Load a model; one that comes with the package takes on the space of the store."""
    model = load_model(path)
    if is_packaged(path) and isinstance(model, LatentVectorModel):
        adapt_to(model, store)  # it was trained in the spaces of other chunks
    return model


def encoder_of(store: ChainStore, given: Encoder | str | None, where: str, device: str = "cpu") -> Encoder:
    """Return an encoder: the one given, or the sentence-transformers model of this name, or of the store's own.

    Raises:
        ImportError: sentence-transformers is not installed.
        ValueError: The store does not name its encoder, or it cannot be loaded; messages begin with `where`.
    """
    from ..data.sentence_encoder import SentenceEncoder

    if given is not None and not isinstance(given, str):
        return given
    name = given or store.metadata.get("encoder")
    if not isinstance(name, str):
        raise ValueError(f"{where}: the store does not say what it was encoded with; name the encoder")
    return SentenceEncoder(name, device)


def _checked(text: Any) -> str:
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"predict_text: text = {text!r}; expected words")
    check_unicode(text, "predict_text: text")
    return text


class _Memory(OrderedDict[Any, Value]):
    """Values by key, the most recently used of them."""

    def all_of(self, keys: list[Any], compute: Callable[[list[int]], list[Value]]) -> list[Value]:
        """Return the value of each key; `compute` gives those of the places in `keys` that are new."""
        places = {key: place for place, key in enumerate(keys) if key not in self}
        new = sorted(places.values())
        if new:
            self.update(zip([keys[place] for place in new], compute(new), strict=True))
        for key in keys:
            self.move_to_end(key)
        values = [self[key] for key in keys]
        while len(self) > _REMEMBERED:
            self.popitem(last=False)
        return values


class _Remembering:
    """An encoder that encodes each text once."""

    def __init__(self, encoder: Encoder) -> None:
        self.name, self.max_tokens, self.count_tokens = encoder.name, encoder.max_tokens, encoder.count_tokens
        self._encoder, self._known = encoder, _Memory["Rows"]()

    def encode(self, texts: list[str]) -> Any:
        def compute(new: list[int]) -> list[Rows]:
            return list(np.asarray(self._encoder.encode([texts[place] for place in new]), np.float32))

        return np.stack(self._known.all_of(texts, compute))

"""Answers what may come next and what is nearest, of a text or of a place in a store, as plain values for a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from .._util.text import check_unicode
from ..data.documents import Document
from .predict_text import TextPredictor

_SHOWN = 5  # the last chunks of a document that are told
_HITS = 8


class Explorer:
    """Answers questions about one store, one at a time, from any thread."""

    def __init__(self, ready: TextPredictor, model_name: str, data_name: str, no_encoder: str | None = None) -> None:
        """Take what answers.

        Args:
            ready: Model, store and encoder.
            model_name: What the page calls the model.
            data_name: What it calls the store.
            no_encoder: Why no text can be read, where that is so.
        """
        self._ready, self._no_encoder = ready, no_encoder
        self._names = {"model": model_name, "data": data_name}
        self._lock = threading.Lock()

    def facts(self) -> dict[str, Any]:
        """Return what the page says before anything is asked."""
        store = self._ready.search.store
        size = {"rows": len(store.vectors), "longest": self._ready.longest}
        chains = [[name, int(length)] for name, length in zip(store.ids, store.lengths, strict=True)]
        has_texts = self._ready.search.rows.texts is not None
        return {**self._names, **size, "chains": chains, "no_encoder": self._no_encoder, "has_texts": has_texts}

    def ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        """Answer ``{"text": words}``, or ``{"chain": id, "position": n}``: after the first n chunks of a document.

        Returns:
            ``next`` and ``nearest``: hits as `Hit` has them; ``chunks`` and ``read``: how many chunks there are, and
            how many the model saw; ``context``: the last of them, where they are of the store; ``ms``.

        Raises:
            ValueError: The question is none, or there is no encoder to read a text with.
        """
        began = time.perf_counter()
        with self._lock:
            told = self._of_text(question["text"]) if "text" in question else self._of_chain(question)
            vectors = told.pop("vectors")
            coming, nearest = self._ready.next_and_nearest(vectors, _HITS)
        listed = {"next": [asdict(hit) for hit in coming], "nearest": [asdict(hit) for hit in nearest]}
        return {**told, **listed, "read": len(vectors), "ms": round(1000 * (time.perf_counter() - began), 1)}

    def _of_text(self, text: Any) -> dict[str, Any]:
        if self._no_encoder is not None:
            raise ValueError(self._no_encoder)
        if not isinstance(text, str) or not text.strip():
            raise ValueError("expected words as text")
        check_unicode(text, "the text")
        read = self._ready.read(Document("the text", text))
        return {"vectors": read.vectors, "chunks": read.chunks, "context": []}

    def _of_chain(self, question: Mapping[str, Any]) -> dict[str, Any]:
        store, rows = self._ready.search.store, self._ready.search.rows
        name, position = question.get("chain"), question.get("position")
        if name not in store.ids:
            raise ValueError(f"there is no document called {name!r}")
        chain = store.ids.index(str(name))
        first, length = int(store.offsets[chain]), int(store.lengths[chain])
        if type(position) is not int or not 1 <= position <= length:
            raise ValueError(f"position = {position!r}; expected 1 to {length}, the chunks of {name!r}")
        stop = first + position
        vectors = np.asarray(store.vectors[max(first, stop - self._ready.longest) : stop], np.float32)
        context = [rows.text(row) for row in range(max(first, stop - _SHOWN), stop)]
        following = rows.text(stop) if position < length else None
        return {"vectors": vectors, "chunks": position, "context": context, "followed_by": following}

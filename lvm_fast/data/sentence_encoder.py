"""Any sentence-transformers model as an `Encoder`."""

from __future__ import annotations

from typing import Any


class SentenceEncoder:
    """A sentence-transformers model: encodes texts and counts tokens with its own tokenizer."""

    def __init__(self, name: str, device: str = "cpu", batch_size: int = 32) -> None:
        """Load a model by name or from a folder.

        Raises:
            ImportError: sentence-transformers is not installed.
            ValueError: the model cannot be loaded, or `batch_size` is below 1.
        """
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError as error:
            raise ImportError("encoding text needs sentence-transformers: pip install 'lvm_fast[encode]'") from error
        if batch_size < 1:
            raise ValueError(f"SentenceEncoder: batch_size = {batch_size}; expected at least 1")
        try:
            self._model: Any = SentenceTransformer(name, device=device)
        except Exception as error:  # the library raises whatever its back ends do
            raise ValueError(f"SentenceEncoder: model {name!r} cannot be loaded: {error}") from error
        self._batch_size = batch_size
        self.name = name
        limit = self._model.max_seq_length
        self.max_tokens: int | None = limit if isinstance(limit, int) else None  # static models have no limit

    def encode(self, texts: list[str]) -> Any:
        """Vectors (n, D) float32 of n texts."""
        return self._model.encode(texts, batch_size=self._batch_size, show_progress_bar=False)

    def count_tokens(self, words: list[str]) -> list[int]:
        """How many tokens each word takes, without the marks around a text."""
        tokenizer = self._model.tokenizer
        if callable(tokenizer):
            return [len(ids) for ids in tokenizer(words, add_special_tokens=False, truncation=False)["input_ids"]]
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(words, add_special_tokens=False)]

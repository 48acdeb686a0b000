"""Any sentence-transformers model as an `Encoder`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .._util.numbers import whole_number
from .._util.optional import optional_module
from .._util.terminal import is_terminal


class SentenceEncoder:
    """A sentence-transformers model: encodes texts and counts tokens with its own tokenizer."""

    def __init__(self, name: str, device: str = "cpu", batch_size: int = 32) -> None:
        """Load a model from a folder, or by name: from the cache of the Hugging Face hub, else from the hub itself.

        `device` is what `choose_device` takes, "auto" too.

        Raises:
            ImportError: sentence-transformers is not installed.
            ValueError: the model cannot be loaded, there is no such device, or `batch_size` is below 1.
        """
        optional_module("sentence_transformers", "encode", "encoding text")
        batch_size = whole_number(batch_size, "SentenceEncoder: batch_size", least=1)
        from .._util.device import choose_device

        place = str(choose_device(device))
        try:
            self._model = _load(name, place)
        except Exception as error:  # the library raises whatever its back ends do
            raise ValueError(f"SentenceEncoder: model {name!r} cannot be loaded: {error}") from error
        self._batch_size = batch_size
        self.name = name
        limit = self._model.max_seq_length
        self.max_tokens: int | None = limit if isinstance(limit, int) else None  # static models have no limit

    def encode(self, texts: list[str]) -> Any:
        """Return vectors (n, D) float32 of n texts."""
        return self._model.encode(texts, batch_size=self._batch_size, show_progress_bar=False)

    def count_tokens(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word, without the marks around a text."""
        if not words:
            return []  # the tokenizers fail on an empty list
        tokenizer = self._model.tokenizer
        if callable(tokenizer):
            return [len(ids) for ids in tokenizer(words, add_special_tokens=False, truncation=False)["input_ids"]]
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(words, add_special_tokens=False)]


def _load(name: str, device: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    if not is_terminal(sys.stderr):
        disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]  # typed in some versions
    if Path(name).exists():
        return SentenceTransformer(name, device=device)
    try:
        return SentenceTransformer(name, device=device, local_files_only=True)
    except Exception:  # not in the cache, or not the whole of it
        _ask_hub(name)
    return SentenceTransformer(name, device=device)


def _ask_hub(name: str) -> None:
    """Raise ConnectionError where the hub gives no answer: the loader would try again and again, file by file."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        HfApi().model_info(name, timeout=10)
    except (HfHubHTTPError, HFValidationError):
        return  # an answer, which the loader will put in its own words
    except Exception as error:
        raise ConnectionError(f"it is no folder, is not in the cache, and the hub gives no answer: {error}") from error

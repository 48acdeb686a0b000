"""Any sentence-transformers model as an `Encoder`."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from .._util.did_you_mean import unknown_name
from .._util.numbers import whole_number
from .._util.optional import optional_module
from .._util.terminal import is_terminal
from .encoding.batches import sorted_batches
from .encoding.encoder import FLOAT32, batch_limits

PRECISIONS = (FLOAT32, "bfloat16", "int8")
_BATCH_TOKENS = {"cpu": 512, "mps": 8192, "cuda": 16384}  # what a CPU's caches hold, or a GPU needs to be busy


class SentenceEncoder:
    """A sentence-transformers model: encodes texts and counts tokens with its own tokenizer.

    Texts are encoded in batches alike in length, as many as make up `batch_tokens` tokens.

    Attributes:
        name: the model, as it was named.
        precision: the numbers that it computes with.
        max_tokens: the most tokens it reads of a text, or None.
        batch_tokens: the most tokens of a batch.
        batch_size: the most texts of a batch, or None.
    """

    def __init__(
        self,
        name: str,
        device: str = "cpu",
        batch_size: int | None = None,
        *,
        precision: str = FLOAT32,
        batch_tokens: int | None = None,
    ) -> None:
        """Load a model from a folder, or by name: from the cache of the Hugging Face hub, else from the hub itself.

        Args:
            name: a name or a folder.
            device: what `choose_device` takes, "auto" too.
            batch_size: the most texts of a batch; no limit of their number when left out.
            precision: "float32"; "bfloat16", quicker where the device has such products; or "int8", quicker on a CPU
                (see `lvm_fast.data.encoding.int8_transformer`). `encode_documents` checks what they find.
            batch_tokens: the most tokens of a batch; 512 on a CPU and more on a GPU when left out.

        Raises:
            ImportError: sentence-transformers is not installed, or for int8 onnx or onnxruntime.
            ValueError: the model cannot be loaded, there is no such device or precision, int8 without a CPU, or a
                number below 1.
        """
        optional_module("sentence_transformers", "encode", "encoding text")
        from .._util.device import choose_device

        if precision not in PRECISIONS:
            raise ValueError(f"SentenceEncoder: {unknown_name('precision', precision, PRECISIONS)}")
        place = choose_device(device)
        if precision == "int8" and place.type != "cpu":
            raise ValueError(f"SentenceEncoder: precision = 'int8' on {place}; expected bfloat16 there, or device cpu")
        _warn_of_slow(precision, place)
        self.batch_size = None if batch_size is None else _count(batch_size, "batch_size")
        self.batch_tokens = _BATCH_TOKENS[place.type] if batch_tokens is None else _count(batch_tokens, "batch_tokens")
        if precision == "int8":
            optional_module("onnx", "int8", "encoding in int8")
            optional_module("onnxruntime", "int8", "encoding in int8")
        try:
            self._model = _in_precision(_load(name, str(place), precision), precision)
        except Exception as error:  # the library raises whatever its back ends do
            raise ValueError(f"SentenceEncoder: model {name!r} cannot be loaded: {error}") from error
        self.name, self.precision, self._device = name, precision, str(place)
        limit = self._model.max_seq_length
        self.max_tokens: int | None = limit if isinstance(limit, int) else None  # static models have no limit
        prompt, width = (getattr(self._model, what, None) for what in ("default_prompt_name", "truncate_dim"))
        self._is_plain = prompt is None and width is None

    def in_float32(self) -> SentenceEncoder:
        """Load the same model in float32, on the same device."""
        return SentenceEncoder(self.name, self._device, self.batch_size, batch_tokens=self.batch_tokens)

    def encode(self, texts: list[str]) -> Any:
        """Return vectors (n, D) float32 of n texts."""
        rows: Any = None
        for batch in sorted_batches(texts, self.count_tokens, *batch_limits(self)):
            encoded = self.encode_tokens(self.tokenize([texts[place] for place in batch]))
            rows = np.empty((len(texts), encoded.shape[1]), np.float32) if rows is None else rows
            rows[batch] = encoded
        return self._model.encode([], show_progress_bar=False) if rows is None else rows

    def tokenize(self, texts: list[str]) -> Any:
        """Return what `encode_tokens` takes: the model's inputs, padded to the longest of the texts."""
        if not self._is_plain:
            return texts
        prepare = getattr(self._model, "preprocess", None) or self._model.tokenize  # the name in versions before 5
        return prepare(texts)

    def encode_tokens(self, tokens: Any) -> Any:
        """Return vectors (n, D) float32 of the texts of one `tokenize`, in one batch."""
        import torch

        if isinstance(tokens, list):  # a model that changes the text or the vector
            return self._model.encode(tokens, batch_size=len(tokens), show_progress_bar=False)
        features = {
            name: value.to(self._device) if isinstance(value, torch.Tensor) else value for name, value in tokens.items()
        }
        with torch.inference_mode():
            return self._model(features)["sentence_embedding"].float().cpu().numpy()

    def count_tokens(self, words: list[str]) -> list[int]:
        """Return the number of tokens of each word, without the marks around a text."""
        if not words:
            return []  # the tokenizers fail on an empty list
        tokenizer = self._model.tokenizer
        if callable(tokenizer):
            return [len(ids) for ids in tokenizer(words, add_special_tokens=False, truncation=False)["input_ids"]]
        return [len(encoding.ids) for encoding in tokenizer.encode_batch(words, add_special_tokens=False)]


def _count(value: int, name: str) -> int:
    return whole_number(value, f"SentenceEncoder: {name}", least=1)


def _warn_of_slow(precision: str, place: Any) -> None:
    from .._util.device import multiplies_bfloat16

    if precision == "bfloat16" and not multiplies_bfloat16(place):
        warnings.warn(
            "SentenceEncoder: precision = 'bfloat16': this device has no bfloat16 products of its own, so it is slower "
            "than float32",
            stacklevel=3,
        )


def _in_precision(model: Any, precision: str) -> Any:
    """Return the model with its transformer in a precision."""
    model.eval()
    if precision == "bfloat16":
        return model.bfloat16()
    if precision == "int8":
        from .encoding.int8_transformer import int8_transformer

        first = model[0]
        attribute = "model" if "model" in first._modules else "auto_model"  # the name in versions before 5
        if attribute not in first._modules:
            raise ValueError("int8 needs a transformer, and it has none")
        setattr(first, attribute, int8_transformer(first._modules[attribute], model.tokenizer))
    return model


def _load(name: str, device: str, precision: str) -> Any:
    from sentence_transformers import SentenceTransformer
    from transformers.utils.logging import disable_progress_bar

    if not is_terminal(sys.stderr):
        disable_progress_bar()  # type: ignore[no-untyped-call, unused-ignore]  # typed in some versions
    options: dict[str, Any] = {"device": device}
    if precision == "int8":
        options["model_kwargs"] = {"attn_implementation": "eager"}  # the one that can be exported
    if Path(name).exists():
        return SentenceTransformer(name, **options)
    try:
        return SentenceTransformer(name, local_files_only=True, **options)
    except Exception:  # not in the cache, or not the whole of it
        _ask_hub(name)
    return SentenceTransformer(name, **options)


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

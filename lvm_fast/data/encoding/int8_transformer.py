"""A transformer whose linear layers multiply in int8, by ONNX Runtime; for the CPU.

ONNX Runtime quantises the inputs of a product as a whole, with one scale. A few large numbers then cost all others
their digits: vectors of all-mpnet-base-v2 kept a cosine of 0.86 with float32. Here every linear layer first brings its
inputs to one size: the columns by factors that move into the weight (SmoothQuant, Xiao et al. 2023), then each token by
its largest number, which the product is multiplied by again. The same vectors keep 0.997.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from ..._util.optional import optional_module
from .sample_sentences import SENTENCES

_EXTRA, _PURPOSE = "int8", "encoding in int8"
_BALANCE = 0.5  # of the range of a column, the part that moves into the weight
_LEAST = 1e-5  # keeps factors of columns without any input finite
_INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class EvenLinear(nn.Module):
    """A linear layer that brings its inputs to one size before the product; the same but for rounding.

    Args:
        linear: the layer.
        factors: (inputs,) what each column is divided by, and its weights are multiplied by.
    """

    def __init__(self, linear: nn.Linear, factors: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach() * factors, requires_grad=False)
        self.bias = linear.bias
        self.inverse = nn.Parameter(1 / factors, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., inputs) to (..., outputs)."""
        even = x * self.inverse
        size = even.abs().amax(-1, keepdim=True).clamp(min=_LEAST)
        product = nn.functional.linear(even / size, self.weight) * size
        return product if self.bias is None else product + self.bias


def int8_transformer(transformer: nn.Module, tokenizer: Any) -> nn.Module:
    """Return a transformer in int8, which takes and gives what `transformer` does; that one is changed.

    Args:
        transformer: of `transformers`, in float32 on the CPU, with attention "eager".
        tokenizer: its tokenizer, of `transformers` too.

    Raises:
        ImportError: onnx or onnxruntime is missing.
    """
    optional_module("onnx", _EXTRA, _PURPOSE)
    optional_module("onnxruntime", _EXTRA, _PURPOSE)
    names = [name for name in _INPUTS if name in tokenizer.model_input_names]
    with torch.no_grad():
        even = _even_layers(transformer, _sample_texts(tokenizer, names))
    for name, layer in even.items():
        owner, _, attribute = name.rpartition(".")
        setattr(transformer.get_submodule(owner), attribute, layer)
    with TemporaryDirectory() as folder:
        return _Int8Transformer(_quantised(transformer, names, Path(folder)), names, transformer)


class _Int8Transformer(nn.Module):
    """Runs a quantised model in place of the transformer that it was made of."""

    def __init__(self, model: bytes, names: list[str], original: Any) -> None:
        import onnxruntime

        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting would take others' time
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._names = names
        self.config = original.config
        self.place = nn.Parameter(torch.empty(0), requires_grad=False)  # tells the library which device this is

    def forward(self, **features: Any) -> Any:
        """Return the hidden states of the last layer, as `transformers` does."""
        from transformers.modeling_outputs import BaseModelOutput

        (states,) = self._session.run(None, {name: features[name].numpy() for name in self._names})
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


class _Positional(nn.Module):
    """A transformer with inputs by place, as the export wants them."""

    def __init__(self, transformer: nn.Module, names: list[str]) -> None:
        super().__init__()
        self.transformer, self.names = transformer, names

    def forward(self, *features: Tensor) -> Tensor:
        """Return the hidden states of the last layer (B, n, D)."""
        output = self.transformer(**dict(zip(self.names, features, strict=True)))
        states: Tensor = output.last_hidden_state
        return states


def _sample_texts(tokenizer: Any, names: list[str]) -> list[dict[str, Tensor]]:
    """Return the sample sentences as the transformer takes them, one by one."""
    tokens = (tokenizer(sentence, truncation=True, return_tensors="pt") for sentence in SENTENCES)
    return [{name: token[name] for name in names} for token in tokens]


def _even_layers(transformer: nn.Module, texts: list[dict[str, Tensor]]) -> dict[str, EvenLinear]:
    """Make an even layer of every linear layer that the texts reach, by its name."""
    ranges: dict[str, Tensor] = {}

    def note(name: str, given: Tensor) -> None:
        columns = given.abs().reshape(-1, given.shape[-1]).amax(0)
        ranges[name] = torch.maximum(ranges[name], columns) if name in ranges else columns

    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: note(name, given[0]))
        for name, layer in transformer.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    for text in texts:
        transformer(**text)
    for hook in hooks:
        hook.remove()
    layers = {}
    for name, columns in ranges.items():
        linear = transformer.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        weights = linear.weight.detach().abs().amax(0).clamp(min=_LEAST)
        factors = columns.clamp(min=_LEAST) ** _BALANCE / weights ** (1 - _BALANCE)
        layers[name] = EvenLinear(linear, factors.clamp(min=_LEAST))
    return layers


@contextmanager
def _silence() -> Iterator[None]:
    """Keep the libraries from warning of constants that they fold, and of steps that are not needed."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def _quantised(transformer: nn.Module, names: list[str], folder: Path) -> bytes:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    sizes = {0: "texts", 1: "tokens"}
    example = tuple(torch.ones(2, 16, dtype=torch.long) for _ in names)
    with _silence():
        torch.onnx.export(
            _Positional(transformer, names).eval(),
            example,
            str(folder / "float32.onnx"),
            input_names=names,
            output_names=["states"],
            dynamic_axes=dict.fromkeys((*names, "states"), sizes),
            dynamo=False,
        )
        quantize_dynamic(
            folder / "float32.onnx",
            folder / "int8.onnx",
            op_types_to_quantize=["MatMul"],
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,  # 7 bits: sums of 8 overflow on a CPU without VNNI
        )
    return (folder / "int8.onnx").read_bytes()

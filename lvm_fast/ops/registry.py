"""The torch operators by name. A new kernel is one new file and one line here."""

from __future__ import annotations

from typing import Any

from .._util.registry import Registry

OPERATORS: Registry[Any] = Registry(
    "operator",
    "lvm_fast.ops",
    {
        "normalize_rows": ".rowwise_torch:normalize_rows",
        "normalize_rows_backward": ".rowwise_torch:normalize_rows_backward",
        "dropout": ".dropout:dropout",
        "linear_within": ".linear_ragged:linear_within",
        "linear_gradients_within": ".linear_ragged:linear_gradients_within",
        "grouped_linear": ".linear_grouped:grouped_linear",
        "grouped_linear_backward": ".linear_grouped:grouped_linear_backward",
        "gru_layer": ".gru_f32:gru_layer",
        "gru_layer_backward": ".gru_f32:gru_layer_backward",
        "gru_bf16_layer": ".gru_bf16:gru_bf16_layer",
        "gru_bf16_layer_backward": ".gru_bf16:gru_bf16_layer_backward",
        "gru_cudnn_layer": ".gru_cudnn:gru_cudnn_layer",
        "gru_cudnn_layer_backward": ".gru_cudnn:gru_cudnn_layer_backward",
        "candidate_logsumexp": ".infonce:candidate_logsumexp",
        "candidate_logsumexp_backward": ".infonce:candidate_logsumexp_backward",
        "lstm_layer": ".lstm_f32:lstm_layer",
        "lstm_layer_backward": ".lstm_f32:lstm_layer_backward",
    },
)


def define_operators() -> None:
    """Define every operator as ``torch.ops.lvm_fast.<name>``: a program saved by torch.export needs them to load."""
    for name in OPERATORS:
        OPERATORS.load(name)

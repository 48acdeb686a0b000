"""Every registered operator checks what it is given before it reads a byte of it, on real and on traced tensors."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import lvm_fast.layers.gru
import lvm_fast.layers.lstm
import lvm_fast.ops.infonce
import lvm_fast.ops.linear_grouped
import lvm_fast.ops.rowwise_torch  # noqa: F401
from lvm_fast.ops.gru_bf16 import bf16_is_offered
from lvm_fast.ops.gru_naive import run_layer
from lvm_fast.ops.lstm_naive import run_layer as run_lstm_layer

OPERATORS = torch.ops.lvm_fast
LAYER = {"inputs": (4, 3, 15), "weight": (15, 5), "bias": (15,), "initial": (3, 5)}
BF16 = {"inputs": (4, 3, 7), "weight_ih": (15, 7), "weight_hh": (15, 5), "bias_ih": (15,), "bias_hh": (15,)}
LSTM = {
    "inputs": (4, 3, 6),
    "weight_ih": (20, 6),
    "weight_hh": (20, 5),
    "bias": (20,),
    "state": (3, 5),
    "cell": (3, 5),
}
LENGTHS = torch.tensor([4, 3, 1])


def made(shapes: dict[str, tuple[int, ...]]) -> list[Tensor]:
    return [torch.randn(*shape) for shape in shapes.values()]


def gru_layer() -> list:
    return [*made(LAYER), LENGTHS, False]


def gru_layer_backward() -> list:
    inputs, weight, bias, initial, lengths, _ = gru_layer()
    kept = run_layer(inputs, weight, bias, initial, lengths)
    return [torch.randn(5, 3, 5), weight, *kept, lengths, False]


def gru_bf16_layer() -> list:
    return [*made(BF16), torch.randn(3, 5), LENGTHS]


def gru_bf16_layer_backward() -> list:
    kept = (torch.randn(5, 3, 32), torch.randn(12, 96), torch.randn(12, 32))
    grads = [torch.randn(5, 3, 32).bfloat16(), torch.randn(3, 32)]
    return [*grads, *gru_bf16_layer(), *(tensor.bfloat16() for tensor in kept), True]


def gru_cudnn_layer() -> list:
    return [torch.randn(4, 3, 7), torch.randn(3, 5), torch.randn(15 * (7 + 5 + 2)), True]


def gru_cudnn_layer_backward() -> list:
    return [torch.randn(4, 3, 5), *gru_cudnn_layer()[:3], torch.randn(4, 3, 5), torch.zeros(9, dtype=torch.uint8)]


def lstm_layer() -> list:
    return [*made(LSTM), LENGTHS, True]


def lstm_layer_backward() -> list:
    *given, reverse = lstm_layer()
    states, cells, gates, _, _ = run_lstm_layer(*given, reverse)
    return [torch.randn(5, 3, 5), torch.randn(3, 5), torch.randn(3, 5), *given, states, cells, gates, reverse, True]


def dropout() -> list:
    return [torch.randn(5, 7), 0.5, torch.tensor([3])]


def linear_within() -> list:
    return [torch.randn(4, 3, 6), torch.randn(5, 6), torch.randn(5), LENGTHS]


def linear_gradients_within() -> list:
    return [torch.randn(4, 3, 5), torch.randn(4, 3, 6), LENGTHS]


def grouped_linear() -> list:
    return [torch.randn(4, 6), torch.tensor([1, 0, 1, 1]), torch.randn(2, 5, 6), torch.randn(2, 5)]


def grouped_linear_backward() -> list:
    return [torch.randn(4, 5), *grouped_linear()[:3]]


def candidate_logsumexp() -> list:
    return [torch.randn(3, 6), torch.randn(5, 6), torch.tensor([[0, 2], [1, 4]]), 2.0]


def candidate_logsumexp_backward() -> list:
    return [torch.randn(3), torch.randn(3, 6), *candidate_logsumexp(), True]


def normalize_rows() -> list:
    return [torch.randn(4, 6), torch.randn(4, 6), 1e-8]


def normalize_rows_backward() -> list:
    return [torch.randn(4, 6), torch.randn(4, 6), torch.randn(4, 6), 1e-8]


OF_EACH = (
    gru_layer,
    gru_layer_backward,
    gru_bf16_layer,
    gru_bf16_layer_backward,
    gru_cudnn_layer,
    gru_cudnn_layer_backward,
    lstm_layer,
    lstm_layer_backward,
    dropout,
    linear_within,
    linear_gradients_within,
    grouped_linear,
    grouped_linear_backward,
    candidate_logsumexp,
    candidate_logsumexp_backward,
    normalize_rows,
    normalize_rows_backward,
)
RUN_HERE = [
    made for made in OF_EACH if "cudnn" not in made.__name__ and ("bf16" not in made.__name__ or bf16_is_offered())
]


def test_every_operator_is_among_them():
    registered = {name for name in torch._C._dispatch_get_all_op_names() if name.startswith("lvm_fast::")}
    assert registered == {f"lvm_fast::{made.__name__}" for made in OF_EACH}


def spoiled(given: list) -> list[tuple[str, list]]:
    """The arguments with one tensor of another dtype or shape in turn."""
    found = []
    for place, tensor in enumerate(given):
        if not isinstance(tensor, Tensor):
            continue
        other = torch.int32 if tensor.dtype != torch.float16 else torch.float32
        longer = torch.cat((tensor, tensor[-1:]))
        changes = {"dtype": tensor.to(other), "dimensions": tensor[None], "size": longer}
        for name, changed in changes.items():
            found.append((f"argument {place}: {name}", [*given[:place], changed, *given[place + 1 :]]))
    return found


# what may have any number of rows, or of dimensions
FREE = {
    "gru_layer": {"argument 0: size"},
    "gru_bf16_layer": {"argument 0: size"},
    "gru_cudnn_layer": {"argument 0: size"},
    "gru_cudnn_layer_backward": {"argument 5: size"},
    "lstm_layer": {"argument 0: size"},
    "dropout": {"argument 0: dimensions", "argument 0: size"},
    "linear_within": {"argument 0: size"},
    "grouped_linear_backward": {"argument 3: size"},
    "candidate_logsumexp": {"argument 0: size", "argument 1: size"},
    "candidate_logsumexp_backward": {"argument 3: size"},
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("given", OF_EACH, ids=lambda made: made.__name__)
def test_a_tensor_of_another_dtype_or_shape_is_named(given, traced):
    torch.manual_seed(0)
    name = given.__name__
    if not traced and given not in RUN_HERE:
        pytest.skip("this machine has no such kernel")
    mode = FakeTensorMode()
    for change, arguments in spoiled(given()):
        if change in FREE.get(name, ()):
            continue
        if traced:
            arguments = [mode.from_tensor(a) if isinstance(a, Tensor) else a for a in arguments]
        with pytest.raises(ValueError, match=rf"^{name}: \w+ is torch\.\w+ \(.*\); expected") as error:
            getattr(OPERATORS, name)(*arguments)
        assert "\n" not in str(error.value), change


@pytest.mark.parametrize("given", RUN_HERE, ids=lambda made: made.__name__)
def test_any_strides_are_read_as_they_are(given):
    torch.manual_seed(0)
    arguments, operator = given(), getattr(OPERATORS, given.__name__)
    strided = [loosely(a) if isinstance(a, Tensor) else a for a in arguments]
    found, expected = operator(*strided), operator(*arguments)
    for mine, reference in zip(leaves(found), leaves(expected), strict=True):
        torch.testing.assert_close(mine, reference, atol=1e-5, rtol=1e-5)


def loosely(tensor: Tensor) -> Tensor:
    """The same numbers, every second of a larger tensor laid out backwards."""
    wide = tensor.new_zeros(*tensor.shape[::-1], 2).permute(*reversed(range(tensor.ndim)), tensor.ndim)[..., 0]
    return wide.copy_(tensor)


def leaves(results) -> list[Tensor]:
    return torch.utils._pytree.tree_leaves(results)


@pytest.mark.parametrize("lengths", [[4, 3, 5], [5, 3, 1], [4, 3, -1], [1, 3, 4]])
@pytest.mark.parametrize("given", [g for g in RUN_HERE if any(a is LENGTHS for a in g())], ids=lambda g: g.__name__)
def test_lengths_in_another_order_or_out_of_range_are_refused(given, lengths):
    arguments = [torch.tensor(lengths) if a is LENGTHS else a for a in given()]
    with pytest.raises(
        ValueError, match=rf"{given.__name__}: lengths\[\d\] is -?\d; expected non-increasing .* 4 to 0"
    ):
        getattr(OPERATORS, given.__name__)(*arguments)


@pytest.mark.parametrize(
    ("operator", "arguments", "message"),
    [
        ("dropout", [torch.ones(3), 1.5, torch.tensor([1])], r"dropout: p is 1\.5; expected 0 to 1"),
        (
            "grouped_linear",
            [torch.ones(2, 3), torch.tensor([0, 2]), torch.ones(2, 1, 3), torch.ones(2, 1)],
            "from 0 to 2",
        ),
        ("grouped_linear", [torch.ones(1, 3), torch.tensor([-1]), torch.ones(2, 1, 3), torch.ones(2, 1)], "from -1 to"),
        (
            "candidate_logsumexp",
            [torch.ones(2, 3), torch.ones(4, 3), torch.tensor([[2], [0]]), 1.0],
            "up to prediction 2",
        ),
        ("candidate_logsumexp", [torch.ones(2, 3), torch.ones(4, 3), torch.tensor([[0], [-1]]), 1.0], "from -1"),
        ("normalize_rows", [torch.ones(2, 3), None, 0.0], "expected eps > 0 and finite, got 0"),
        ("normalize_rows", [torch.tensor(1.0), None, 1e-8], "x is a single number"),
    ],
)
def test_numbers_out_of_range_are_refused(operator, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(OPERATORS, operator)(*arguments)

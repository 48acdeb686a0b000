"""The core takes tensors and arrays of the dtype, shape and layout that it reads, and no others: never a crash."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import torch

from lvm_fast import _core

N, B, H = 4, 3, 5


def forward_arguments() -> dict[str, torch.Tensor]:
    return {
        "inputs": torch.randn(N, B, 3 * H),
        "weight": torch.randn(3 * H, H),
        "bias": torch.randn(3 * H),
        "states": torch.zeros(N + 1, B, H),
        "gates": torch.zeros(N, B, 3 * H),
        "candidates": torch.zeros(N, B, H),
        "lengths": torch.tensor([4, 2, 0]),
    }


def backward_arguments() -> dict[str, torch.Tensor]:
    given = forward_arguments()
    made = {name: torch.zeros(N, B, 3 * H) for name in ("grad_inputs", "grad_products")}
    kept = {name: given[name] for name in ("weight", "states", "gates", "candidates")}
    others = {"grad_initial": torch.zeros(B, H), "lengths": given["lengths"]}
    return {"grad_states": torch.randn(N, B, H), **kept, **made, **others}


def bf16_arguments() -> dict[str, torch.Tensor]:
    half = torch.bfloat16
    return {
        "inputs": torch.randn(N, B, 7),
        "weight_ih": torch.randn(3 * H, 7),
        "weight_hh": torch.randn(3 * H, H),
        "bias_ih": torch.randn(3 * H),
        "bias_hh": torch.randn(3 * H),
        "initial": torch.zeros(B, H),
        "states": torch.zeros(N + 1, B, 32, dtype=half),
        "final": torch.zeros(B, 32),
        "gates": torch.zeros(N * B, 96, dtype=half),
        "candidates": torch.zeros(N * B, 32, dtype=half),
        "lengths": torch.tensor([4, 2, 0]),
    }


def bf16_backward_arguments() -> dict[str, torch.Tensor]:
    given = bf16_arguments()
    names = ("inputs", "weight_ih", "weight_hh", "states", "gates", "candidates", "lengths")
    return {name: given[name] for name in names} | {
        "grad_states": torch.zeros_like(given["states"]),
        "grad_final": torch.zeros(B, 32),
        "grad_inputs": torch.zeros(N, B, 32),
        "grad_weight_ih": torch.zeros(3, 32, 32),
        "grad_weight_hh": torch.zeros(3, 32, 32),
        "grad_bias_ih": torch.zeros(3, 32),
        "grad_bias_hh": torch.zeros(3, 32),
        "grad_initial": torch.zeros(B, 32),
    }


def lstm_arguments() -> dict:
    return {
        "weight": torch.randn(4 * H, H),
        "gates": torch.randn(N, B, 4 * H),
        "states": torch.zeros(N + 1, B, H),
        "cells": torch.zeros(N + 1, B, H),
        "lengths": torch.tensor([N] * B),
    }


def lstm_backward_arguments() -> dict:
    own = lstm_arguments()
    del own["states"]
    grads = {"grad_states": torch.randn(N, B, H), "grad_gates": torch.zeros(N, B, 4 * H)}
    return {**own, **grads, "grad_state": torch.zeros(B, H), "grad_cell": torch.zeros(B, H)}


OPERATORS = {
    "lstm_forward": lstm_arguments,
    "lstm_backward": lstm_backward_arguments,
    "gru_forward": forward_arguments,
    "gru_backward": backward_arguments,
    "gru_bf16_forward": bf16_arguments,
    "gru_bf16_backward": bf16_backward_arguments,
}
ARGUMENTS = [(operator, name) for operator, make in OPERATORS.items() for name in make()]


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS)
def test_another_dtype_is_refused_by_name(operator, name):
    given = OPERATORS[operator]()
    given[name] = given[name].double()
    with pytest.raises(ValueError, match=rf"^{name}: expected \w+ \(.*\), got float64 \("):
        getattr(_core, operator)(**given)


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS)
def test_a_shorter_array_is_refused(operator, name):
    given = OPERATORS[operator]()
    given[name] = given[name][:-1].clone()
    with pytest.raises(ValueError, match=r"expected \w+ \(.*\), got "):
        getattr(_core, operator)(**given)


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS)
def test_another_number_of_dimensions_is_refused(operator, name):
    given = OPERATORS[operator]()
    given[name] = given[name][None]
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got "):
        getattr(_core, operator)(**given)


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS)
def test_numbers_that_lie_apart_are_refused(operator, name):
    given = OPERATORS[operator]()
    given[name] = given[name].repeat_interleave(2, dim=-1)[..., ::2]
    with pytest.raises(ValueError, match=rf"^{name}: expected .*, got .* whose numbers lie apart$"):
        getattr(_core, operator)(**given)


@pytest.mark.parametrize(("operator", "name"), ARGUMENTS)
def test_a_list_is_no_array(operator, name):
    given = OPERATORS[operator]()
    with pytest.raises(TypeError, match="incompatible function arguments"):
        getattr(_core, operator)(**(given | {name: given[name].tolist()}))


def test_arrays_of_numpy_do_as_well_as_tensors():
    given = forward_arguments()
    arrays = {name: tensor.numpy().copy() for name, tensor in given.items()}
    _core.gru_forward(**given)
    _core.gru_forward(**arrays)
    np.testing.assert_array_equal(arrays["states"], given["states"].numpy())
    assert given["states"].abs().sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.empty(2, 3, device="meta"), "expected a tensor on the CPU, got one on meta"),
        (lambda: torch.eye(3).to_sparse(), "expected a dense tensor, got one of layout torch.sparse_coo"),
        (lambda: torch._neg_view(torch.ones(2, 3)), "expected a plain tensor, got one that is negated"),
        (lambda: torch.ones(2, 3, dtype=torch.int64), r"Rows: expected float32, .*, got int64 \(2, 3\)"),
        (lambda: torch.ones(2, 3, dtype=torch.bool), r"Rows: expected float32, .*, got another type \(2, 3\)"),
        (lambda: torch.tensor(1.0), r"Rows: expected rows .*, got float32 \(\)"),
        (lambda: torch.ones(2, 4, 6)[:, :, ::2], r"Rows: expected rows .*, got float32 \(2, 4, 3\)"),
        (lambda: torch.ones(1, 1, 1, 1, 1, 1, 1, 1, 2), "expected an array of at most 8 dimensions, got 9"),
        (lambda: np.ones((2, 3), ">f4"), "expected an array of numbers as this machine has them, got >f4"),
        (lambda: np.ones((2, 3), np.uint16), r"Rows: expected float32, .*, got uint16 \(2, 3\)"),
        (lambda: np.ones((2, 3), np.int8), "int8 rows, and only they, come with scales"),
        (lambda: np.ones((2, 6), "f4,i2")["f0"], "expected an array of numbers side by side"),
    ],
)
def test_rows_refuse_what_the_core_cannot_read(make, message):
    with pytest.raises(ValueError, match=message):
        _core.Rows(make())


def test_rows_of_freed_memory_are_refused():
    tensor = torch.ones(2, 3)
    tensor.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="expected an array that holds its numbers, got one without"):
        _core.Rows(tensor)


def test_scales_are_one_float32_a_row():
    codes = np.ones((2, 3), np.int8)
    with pytest.raises(ValueError, match=r"Rows: scales: expected float32 \(2,\), got float32 \(3,\)"):
        _core.Rows(codes, np.ones(3, np.float32))
    with pytest.raises(ValueError, match=r"Rows: scales: expected float32 \(2,\), got float64 \(2,\)"):
        _core.Rows(codes, np.ones(2))


def test_rows_and_banks_keep_their_memory_alive():
    vectors = np.eye(4, dtype=np.float32)
    expected, gone = vectors.copy(), weakref.ref(vectors)
    bank = _core.Bank(_core.Rows(vectors), "ip")
    del vectors
    gc.collect()
    assert gone() is not None
    everything = np.full(4, np.inf)
    scores, ids = bank.best(_core.Rows(expected), -everything, everything, 1, _core.Filter(), None, None)
    assert ids[:, 0].tolist() == [0, 1, 2, 3]
    assert scores[:, 0].tolist() == [1, 1, 1, 1]
    bank.refill(_core.Rows(expected))
    gc.collect()
    assert gone() is None


def test_results_have_the_dtype_and_size_of_the_rows():
    x = torch.randn(2, 3)
    for out in (torch.empty(2, 3, dtype=torch.float64), torch.empty(7), torch.empty(3, 2).T):
        with pytest.raises(ValueError, match=r"^out: expected contiguous float32 of 2 x 3 numbers, got "):
            _core.normalize_rows(_core.Rows(x), None, out, 1e-8)
        with pytest.raises(ValueError, match=r"^grad_x: expected contiguous float32 of 2 x 3 numbers, got "):
            _core.normalize_rows_backward(_core.Rows(x), None, _core.Rows(x), out, 1e-8)
        with pytest.raises(ValueError, match=r"^dropout: expected contiguous float32 or bfloat16 x, and out like it"):
            _core.dropout(x, 0.5, 7, out)
    with pytest.raises(ValueError, match=r"^dropout: p: expected 0 to 1, got 2"):
        _core.dropout(x, 2.0, 7, torch.empty(2, 3))

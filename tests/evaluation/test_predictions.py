from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast.data.windows import Windows
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.predictions import predict_windows
from lvm_fast.models.registry import create_model, model_names


def test_batches_sorted_by_length_come_back_in_window_order(store, momentum):
    windows = Windows(store, 20, stride=3, min_length=4)
    assert len(set(windows.lengths)) > 5
    predicted = predict_windows(momentum, windows, batch_size=7)
    vectors = np.asarray(store.vectors, np.float64)
    current, before = vectors[windows.targets - 1], vectors[windows.targets - 2]
    expected = current + 0.5 * (current - before)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert predicted.dtype == np.float32
    np.testing.assert_allclose(predicted, expected, atol=1e-6)


def test_the_batch_size_does_not_matter(store, momentum):
    windows = Windows(store, 10)
    np.testing.assert_allclose(
        predict_windows(momentum, windows, batch_size=1), predict_windows(momentum, windows, batch_size=1000), atol=1e-6
    )


def test_parts_of_the_batches_add_up_to_the_whole_bit_for_bit(store, momentum):
    windows = Windows(store, 20, stride=3, min_length=4)
    parts = [predict_windows(momentum, windows, batch_size=7, only=slice(part, None, 3)) for part in range(3)]
    np.testing.assert_array_equal(sum(parts), predict_windows(momentum, windows, batch_size=7))
    assert (sum((part != 0).any(axis=1).astype(int) for part in parts) == 1).all()


@pytest.mark.parametrize("training", [True, False])
def test_the_model_runs_in_evaluation_mode_and_gets_its_mode_back(store, training):
    modes = []

    class Watched(torch.nn.Module):
        def forward(self, context, lengths):
            modes.append((self.training, torch.is_grad_enabled()))
            return torch.zeros(context.shape[0], context.shape[2])

    model = Watched().train(training)
    predict_windows(model, Windows(store, 10))
    assert set(modes) == {(False, False)}
    assert model.training is training


def test_the_mode_comes_back_after_a_failure_too(store):
    class Broken(torch.nn.Module):
        def forward(self, context, lengths):
            raise RuntimeError("broken")

    model = Broken().train()
    with pytest.raises(RuntimeError, match="broken"):
        predict_windows(model, Windows(store, 10))
    assert model.training


@pytest.mark.parametrize(("dtype", "largest"), [(torch.float64, 2e-6), (torch.bfloat16, 3e-2), (torch.float16, 4e-3)])
@pytest.mark.parametrize("name", model_names())
def test_models_of_every_dtype_are_scored_close_to_float32(store, name, dtype, largest):
    torch.manual_seed(0)
    sizes = {"whitened_recency": {}, "transformer": {"hidden_dim": 8, "feedforward_dim": 8}}.get(
        name, {"hidden_dim": 8}
    )
    model, windows = create_model(name, input_dim=store.dim, **sizes), Windows(store, 10)
    exact, report = predict_windows(model, windows), evaluate(model, store, 10, bootstrap=5, curve=False)
    model.to(dtype)
    predicted = predict_windows(model, windows)
    assert predicted.dtype == np.float32
    assert np.linalg.norm(predicted - exact, axis=1).max() < largest
    rounded = evaluate(model, store, 10, bootstrap=5, curve=False)
    assert rounded.mean_cosine == pytest.approx(report.mean_cosine, abs=largest)
    assert rounded.mrr == pytest.approx(report.mrr, abs=0.05)
    if name == "specialist_gru":
        assert [expert.at_all for expert in rounded.experts] == pytest.approx(
            [expert.at_all for expert in report.experts], abs=0.1
        )


def test_nan_is_an_error_that_names_the_window(store):
    windows = Windows(store, 10)

    class Diverged(torch.nn.Module):
        def forward(self, context, lengths):
            delta = torch.zeros(context.shape[0], context.shape[2])
            delta[-1, 3] = float("nan")
            return delta

    longest = int(np.argsort(windows.lengths, kind="stable")[-1])
    with pytest.raises(ValueError, match=f"predict_windows: .* window {longest} is NaN"):
        predict_windows(Diverged(), windows)


def test_a_batch_size_below_one_is_an_error(store, momentum):
    with pytest.raises(ValueError, match="batch_size = 0"):
        predict_windows(momentum, Windows(store, 10), batch_size=0)

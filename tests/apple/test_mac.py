"""What only a Mac with Apple silicon can show: a training step on MPS, and Core ML's own prediction."""

from __future__ import annotations

import platform

import numpy as np
import pytest
import torch

import lvm_fast as lf

pytestmark = [
    pytest.mark.apple,
    pytest.mark.skipif(platform.system() != "Darwin", reason="needs macOS"),
]


def test_a_compiled_training_step_on_mps(tmp_path):
    assert torch.backends.mps.is_available()
    recipe = lf.Recipe(
        data="sample",
        device="mps",
        compile=True,
        context_length=20,
        stride=400,
        val_stride=200,
        epochs=1,
        output_dir=str(tmp_path / "run"),
    )
    result = lf.train(recipe)
    assert result.steps >= 1
    assert np.isfinite(result.history[0]["train_loss"])


def test_core_ml_predicts_what_torch_predicts(tmp_path):
    coremltools = pytest.importorskip("coremltools")
    torch.manual_seed(0)
    model = lf.create_model("memory_gru").eval()
    package = lf.export_coreml(model, tmp_path / "model.mlpackage", contexts=(20,), streaming=False)
    context = lf.sample().vectors[:20][None]
    predicted = coremltools.models.MLModel(str(package), function_name="predict_20").predict({"context": context})
    np.testing.assert_allclose(predicted["next_vector"], model.predict(context), atol=5e-3)

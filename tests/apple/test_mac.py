"""What only a Mac with Apple silicon can show: a training step on MPS."""

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

"""A space of somebody's own: one file and one line."""

from __future__ import annotations

import numpy as np
import torch

import lvm_fast as lf
from lvm_fast.models.pretrained import load_single_model
from lvm_fast.spaces.registry import SPACES, kinds

TOY = """
import numpy as np


class Scaled:
    has_matrix = True

    @staticmethod
    def matrix(moments, strength):
        return np.diag(1.0 + strength * np.arange(len(moments.mean)))
"""


def test_the_kinds_there_are():
    assert kinds() == ("raw", "centred", "whitened")
    assert [SPACES.load(name).has_matrix for name in SPACES] == [False, True]


def test_a_new_space_is_one_file_and_one_line(tmp_path, monkeypatch):
    (tmp_path / "toy_scaled_space.py").write_text(TOY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SPACES.places, "scaled", "toy_scaled_space:Scaled")
    vectors = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    space = lf.fit_space(vectors, "scaled", 0.5)
    rows = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    expected = (rows - rows.mean(axis=0)) * (1.0 + 0.5 * np.arange(6))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(space.keys(vectors), expected, atol=1e-5)
    model = lf.create_model("whitened_recency", input_dim=6, space=space)
    np.testing.assert_allclose(model.keys(vectors), expected, atol=1e-5)
    model.save_pretrained(tmp_path / "model")
    again = load_single_model(tmp_path / "model")
    assert again.config["space"]["kind"] == "scaled"
    context = torch.from_numpy(vectors[:5])
    assert torch.equal(again.predict(context), model.eval().predict(context))

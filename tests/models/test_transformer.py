"""transformer: its positions, in every place that a context can be too long for them."""

from __future__ import annotations

import pytest
import torch
from literal_models import SMALL, LiteralPositions

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.models.transformer import Positions, TransformerModel
from lvm_fast.training.recipe import Recipe

TOO_LONG = "transformer: a context of 41 vectors; expected at most 40, the model's positions"


@pytest.fixture
def model() -> TransformerModel:
    return TransformerModel(**SMALL["transformer"]).eval()


@pytest.mark.parametrize("width", [2, 8, 24])
def test_positions_are_the_sinusoids_of_the_paper(width):
    torch.testing.assert_close(Positions(50, width).pe, LiteralPositions(50, width).pe, atol=2e-5, rtol=0)


def test_an_odd_width_ends_with_a_sine():
    torch.testing.assert_close(Positions(9, 5).pe[0, :, 4], (torch.arange(9) / 10000 ** (4 / 5)).sin())


def test_a_context_as_long_as_the_positions_fits_and_one_more_does_not(model):
    context = torch.randn(2, 41, 16)
    for run in (model, model.deltas, model.predict):
        assert run(context[:, :40]).isfinite().all()
        with pytest.raises(ValueError, match=TOO_LONG):
            run(context)


def test_a_stream_ends_with_the_positions_and_starts_again(model):
    stream, context = model.stream(2), torch.randn(2, 40, 16)
    for t in range(40):
        got = stream.push(context[:, t])
    for _ in range(2):
        with pytest.raises(ValueError, match=TOO_LONG):
            stream.push(context[:, 0])
    torch.testing.assert_close(got, model.predict(context), atol=1e-6, rtol=0)
    stream.reset()
    torch.testing.assert_close(stream.push(context[:, 0]), model.predict(context[:, :1]), atol=1e-6, rtol=0)


def test_more_positions_can_be_had():
    model = lf.create_model("transformer", **{**SMALL["transformer"], "max_positions": 500})
    assert model.pos_encoder.pe.shape == (1, 500, 24)
    assert model.predict(torch.randn(1, 500, 16)).isfinite().all()


def test_training_says_so_before_it_opens_the_data(tmp_path):
    asked = Recipe(data="no such file", model_type="transformer", context_length=101, output_dir=str(tmp_path / "run"))
    with pytest.raises(ValueError, match="transformer: a context of 101 vectors; expected at most 100"):
        lf.train(asked)
    asked.model = {"max_positions": 101}
    with pytest.raises(FileNotFoundError, match="no such file"):
        lf.train(asked)
    assert not (tmp_path / "run").exists()


def test_evaluation_says_so_before_any_pass(model):
    passes = []
    model.register_forward_pre_hook(lambda *_: passes.append(1))
    narrow = lf.ChainStore(torch.nn.functional.normalize(torch.randn(60, 16)).numpy(), [0, 60])
    with pytest.raises(ValueError, match=TOO_LONG):
        lf.evaluate(model, narrow, context_length=41, stride=1, batch_size=1)
    assert not passes
    assert lf.evaluate(model, narrow, context_length=40, stride=1, bootstrap=5, curve=False).queries > 1


def test_the_command_says_so_in_a_line(capsys):
    assert main(["train", "--model-type", "transformer", "--context-length", "150"]) == 2
    assert capsys.readouterr().err == (
        "lvm-fast: error: transformer: a context of 150 vectors; expected at most 100, the model's positions\n"
    )


def test_export_says_so(model, tmp_path):
    with pytest.raises(ValueError, match="a context of 100 vectors; expected at most 40"):
        lf.export_coreml(model, tmp_path / "model.mlpackage", contexts=(10, 100))


def test_the_card_says_how_long_a_context_may_be(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert "(N x 16, N at most 40)" in (tmp_path / "README.md").read_text()
    assert lf.load_model(tmp_path).max_context == 40


def test_heads_share_the_width():
    with pytest.raises(ValueError, match="transformer: hidden_dim = 20; expected a multiple of num_heads = 8"):
        lf.create_model("transformer", hidden_dim=20)

"""TensorBoard is optional: missing it is silent, broken it is told once, and training goes on."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from lvm_fast.training.fit import train
from lvm_fast.training.tensorboard import Events

ROW = {"step": 1, "epoch": 1, "loss": 0.5}


def forget():
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def fresh():
    """Every test imports TensorBoard anew, and so do the tests after it."""
    forget()
    yield
    forget()


@pytest.fixture
def put(tmp_path, monkeypatch):
    """Puts another tensorboard in the place of the installed one."""

    def place(text):
        package = tmp_path / "path" / "tensorboard"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(text)
        monkeypatch.syspath_prepend(package.parent)

    return place


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "raise TypeError('Descriptors cannot be\\n created directly')",
            "TypeError: Descriptors cannot be created dir",
        ),
        ("import absent_dependency", "ModuleNotFoundError: No module named 'absent_dependency'"),
        ("raise AttributeError('np.bool8')", "AttributeError: np.bool8"),
        ("__version__ = '0.1'", ""),
    ],
)
def test_a_broken_tensorboard_is_told_and_training_goes_on(recipe, put, text, reason):
    put(text)
    result = train(recipe(epochs=1, tensorboard=True))
    log = (result.output_dir / "train.log").read_text()
    assert log.count(f"warning: no TensorBoard events: {reason}") == 1
    assert "TRAINING COMPLETE" in log


def test_a_missing_tensorboard_is_silent(recipe, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = train(recipe(epochs=1, tensorboard=True))
    assert "TensorBoard" not in (result.output_dir / "train.log").read_text()
    assert not (result.output_dir / "tensorboard").exists()


@pytest.mark.parametrize("failing", ["SummaryWriter", "add_scalar", "close"])
def test_whatever_fails_later_is_told_once(tmp_path, monkeypatch, failing):
    class Writer:
        def __init__(self, folder, purge_step=None):
            self.fail("SummaryWriter")

        def fail(self, name):
            if name == failing:
                raise OSError(28, "No space left on device")

        def add_scalar(self, *_):
            self.fail("add_scalar")

        def close(self):
            self.fail("close")

    installed = ModuleType("torch.utils.tensorboard")
    installed.SummaryWriter = Writer
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", installed)
    said = []
    events = Events(tmp_path, 0, said.append)
    for _ in range(3):
        events.add("step", ROW)
    events.close()
    assert said == ["warning: no TensorBoard events: OSError: [Errno 28] No space left on device"]

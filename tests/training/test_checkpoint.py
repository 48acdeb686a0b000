"""A run's folder is one training's: claimed before anything else, by one process, and free again when it ends."""

from __future__ import annotations

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lvm_fast._util.folders import locked_folder
from lvm_fast.training.checkpoint import claimed_folder
from lvm_fast.training.fit import train
from lvm_fast.training.recipe import Recipe

TRAIN = """
import sys, time
from pathlib import Path
import lvm_fast as lf
from lvm_fast.training import prepare_run
real = prepare_run.load_data
def slow(recipe):  # both have claimed, or failed to, before one goes on
    Path(sys.argv[2]).touch()
    while len(list(Path(sys.argv[1]).glob("ready-*"))) < 2:
        time.sleep(0.02)
    return real(recipe)
prepare_run.load_data = slow
sizes = {"hidden_dim": 6, "num_layers": 1, "memory_slots": 4}
recipe = lf.Recipe(data="chains.safetensors", model=sizes, context_length=6, epochs=1, accumulation_steps=1,
    device="cpu", output_dir=None if sys.argv[3] == "none" else sys.argv[3], tensorboard=False)
try:
    print(lf.train(recipe).output_dir)
except OSError as error:
    print("refused:", error)
    Path(sys.argv[2]).touch()
"""


@pytest.fixture
def place(store, tmp_path, monkeypatch):
    store.save(tmp_path / "chains.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def two_at_once(place, output_dir):
    commands = [[sys.executable, "-c", TRAIN, str(place), f"ready-{i}", output_dir] for i in range(2)]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(
            lambda command: subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=600), commands
        )
        return [run.stdout.splitlines()[-1] for run in runs]


def test_two_trainings_at_once_without_a_folder_get_two(place):
    assert sorted(two_at_once(place, "none")) == ["runs/memory_gru-6", "runs/memory_gru-6-2"]
    for name in ("memory_gru-6", "memory_gru-6-2"):
        log = (place / "runs" / name / "train.log").read_text()
        assert len(re.findall("^started in ", log, re.MULTILINE)) == 1
        assert len(re.findall("^TRAINING COMPLETE", log, re.MULTILINE)) == 1


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "empty"])
def test_of_two_trainings_at_once_in_one_folder_one_is_refused(place, is_there):
    if is_there:
        (place / "mine").mkdir()
    said = sorted(two_at_once(place, "mine"))
    assert said[0] == "mine"
    assert said[1].startswith("refused: train: another training works in 'mine'; wait until it ends, or choose another")
    assert len(re.findall("^started in ", (place / "mine" / "train.log").read_text(), re.MULTILINE)) == 1


def test_two_that_resume_one_run_do_not_meet(recipe):
    first = train(recipe(epochs=1))
    before = {path.name: path.read_bytes() for path in first.output_dir.iterdir()}
    with locked_folder(first.output_dir, wait=False), pytest.raises(FileExistsError, match="another training works in"):
        train(recipe(epochs=2, resume=True))
    assert {path.name: path.read_bytes() for path in first.output_dir.iterdir()} == before
    assert len(train(recipe(epochs=2, resume=True)).history) == 2


def test_a_refused_training_leaves_the_folder_of_the_other_one_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with claimed_folder(Recipe(output_dir="a/b")) as folder:
        with (
            pytest.raises(FileExistsError, match="another training works in"),
            claimed_folder(Recipe(output_dir="a/b")),
        ):
            pass
        assert folder.is_dir()


def test_what_was_made_and_is_empty_goes_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("there").mkdir()
    for settings in ({"output_dir": "there/a/b"}, {}):
        assert fail_in(settings) == []
    assert [str(path) for path in Path().rglob("*")] == ["there"]
    fail_in({}, "recipe.yaml")
    assert Path("runs/memory_gru-100/recipe.yaml").exists()


def fail_in(settings, *files):
    """What the claimed folder held when the training in it failed."""
    try:
        with claimed_folder(Recipe(**settings)) as folder:
            held = list(folder.iterdir())
            for name in files:
                (folder / name).touch()
            raise RuntimeError
    except RuntimeError:
        return held


def test_a_file_in_the_way_is_an_error(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("file", "file/run"):
        with pytest.raises(OSError, match="file"), claimed_folder(Recipe(output_dir=tmp_path / name)):
            pass
    assert (tmp_path / "file").read_text() == "mine"

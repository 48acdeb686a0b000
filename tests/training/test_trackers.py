"""Trackers get what metrics.jsonl gets, each through its own package; none that fails ends a training."""

from __future__ import annotations

import json
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lvm_fast.cli import main
from lvm_fast.training.fit import train
from lvm_fast.training.recipe import Recipe
from lvm_fast.training.trackers import NAMES, TRACKERS, RunFacts

TRAIN = """
import json, numpy as np, lvm_fast as lf
rng = np.random.default_rng(0)
store = lf.ChainStore(rng.standard_normal((200, 8)).astype(np.float32), np.arange(0, 201, 20))
def run(**changes):
    sizes = {"hidden_dim": 4, "num_layers": 1, "memory_slots": 2}
    common = dict(data=store, context_length=6, batch_size=16, accumulation_steps=1, device="cpu", model=sizes)
    lf.train(lf.Recipe(**common, trackers=[TRACKER], patience=9, tensorboard=False, output_dir="run", **changes))
run(epochs=1)
run(epochs=2, resume=True)
"""

READ = {
    "tensorboard": """
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
events = EventAccumulator("run/tensorboard", size_guidance={"scalars": 0}).Reload()
told = {name: [[e.step, e.value] for e in events.Scalars(name)] for name in events.Tags()["scalars"]}
""",
    "mlflow": """
from mlflow import MlflowClient
client = MlflowClient()
(run,) = client.search_runs([client.get_experiment_by_name("lvm_fast").experiment_id])
assert (run.info.status, run.data.params["context_length"]) == ("FINISHED", "6"), run
told = {}
for name in run.data.metrics:
    told[name] = [[metric.step, metric.value] for metric in client.get_metric_history(run.info.run_id, name)]
""",
    # an offline run is a log in LevelDB's format: a head of 7 bytes, then records cut at blocks of 32 KiB
    "wandb": """
import struct
from pathlib import Path
from wandb.proto import wandb_internal_pb2
told = {}
for file in sorted(Path("run/wandb").glob("offline-run-*/*.wandb")):
    data, at, whole = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record, whole = wandb_internal_pb2.Record.FromString(whole), b""
            row = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
            for name in row.keys() - {"_step", "_runtime", "_timestamp"}:
                told.setdefault(name, []).append([row["_step"], row[name]])
""",
    "trackio": """
from trackio.sqlite_storage import SQLiteStorage
(name,) = SQLiteStorage.get_runs("lvm_fast")
told = {}
for row in SQLiteStorage.get_logs("lvm_fast", name if isinstance(name, str) else name["name"]):
    for key in row.keys() - {"step", "timestamp"}:
        told.setdefault(key, []).append([row["step"], row[key]])
""",
}


@pytest.mark.parametrize("tracker", TRACKERS.names())
def test_a_tracker_gets_every_figure_at_its_step_and_a_resumed_run_goes_on(tracker, run_python, tmp_path):
    if find_spec(tracker) is None:
        pytest.skip(f"{tracker} is not installed")
    places = {"WANDB_MODE": "offline", "TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    places |= {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "WANDB_SILENT": "true", "DO_NOT_TRACK": "1"}
    trained = run_python(f"TRACKER = {tracker!r}\n{TRAIN}", **places)
    assert trained.returncode == 0, trained.stderr[-3000:]
    assert "warning: no" not in trained.stdout
    read = run_python(f"import json\n{READ[tracker]}\nprint('TOLD', json.dumps(told))", **places)
    assert read.returncode == 0, read.stderr[-3000:]
    told = json.loads(read.stdout.rpartition("TOLD ")[2].splitlines()[0])
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {row["kind"] for row in rows} == {"step", "epoch"}
    for name in ("step/loss", "epoch/hit5", "epoch/train_loss"):
        kind, figure = name.split("/")
        expected = [[row["step"], row[figure]] for row in rows if row["kind"] == kind]
        assert len(expected) > 1
        assert [step for step, _ in sorted(told[name])] == [step for step, _ in expected]
        assert [value for _, value in sorted(told[name])] == pytest.approx([value for _, value in expected], rel=1e-6)


class Failing:
    """A tracker that fails where it is told to."""

    where = ""
    calls: list[Any] = []  # noqa: RUF012

    def __init__(self, facts: RunFacts) -> None:
        self.note("open", facts.name)

    def note(self, name: str, *told: Any) -> None:
        type(self).calls.append((name, *told))
        if name == self.where:
            raise OSError(28, "No space left on device")

    def add(self, figures: Any, step: int) -> None:
        self.note("add", figures, step)

    def close(self) -> None:
        self.note("close")


@pytest.mark.parametrize("where", ["", "open", "add", "close"])
def test_a_tracker_that_fails_is_told_once_and_training_goes_on(recipe, monkeypatch, where):
    monkeypatch.setattr(Failing, "where", where)
    monkeypatch.setattr(Failing, "calls", [])
    monkeypatch.setitem(TRACKERS.places, "wandb", f"{__name__}:Failing")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    monkeypatch.setattr("lvm_fast.training.trackers.find_spec", lambda name: name)
    result = train(recipe(epochs=1, trackers=["wandb"]))
    log = (result.output_dir / "train.log").read_text()
    assert log.count("warning: no wandb events: OSError: [Errno 28] No space left on device") == bool(where)
    assert "TRAINING COMPLETE" in log
    names = [call[0] for call in Failing.calls]
    assert names == {"open": ["open"], "add": ["open", "add"]}.get(
        where, ["open", *["add"] * (result.steps + 1), "close"]
    )
    if not where:
        figures, step = Failing.calls[-2][1:]
        assert (figures["epoch/hit5"], step) == (result.best_hit5, result.steps)
        assert Failing.calls[0][1] == json.loads((result.output_dir / NAMES).read_text())["name"]


def test_a_tracker_that_is_not_installed_is_one_line_before_anything_is_made(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lvm_fast.training.trackers.find_spec", lambda name: None)
    words = ["train", "--data", "sample", "--output-dir", str(tmp_path / "run"), "--trackers", "mlflow", "wandb"]
    assert main(words) == 2
    said = "lvm-fast: error: train: trackers names mlflow, which is missing; pip install 'lvm_fast[mlflow]' brings it\n"
    assert capsys.readouterr().err == said
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["wandbb"], r"trackers = \['wandbb'\]; expected some of tensorboard, .*did you mean 'wandb'"),
        (["wandb", "wandb"], "each once"),
        ("wandb", "expected a list"),
        ([1], "expected a list"),
    ],
)
def test_what_is_no_tracker_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        Recipe(trackers=given)


def test_trackers_stand_in_the_recipe_and_may_change_when_a_run_goes_on(recipe, tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(Recipe(trackers=["trackio", "mlflow"]).to_yaml())
    assert Recipe.from_yaml(path).trackers == ["trackio", "mlflow"]
    train(recipe(epochs=1))
    assert not (Path(tmp_path) / "run" / NAMES).exists()
    train(recipe(epochs=2, resume=True, trackers=["tensorboard"]))
    assert list((Path(tmp_path) / "run" / "tensorboard").iterdir())

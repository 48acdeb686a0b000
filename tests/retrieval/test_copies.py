"""Banks pickled and copied: with their rows, or as the path of the file that they were opened from."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.retrieval.sharded import ShardedBank

ROWS = np.random.default_rng(5).standard_normal((150, 70)).astype(np.float32)
QUERIES = ROWS[:40] + np.float32(0.01)
SCALES = np.linspace(0.01, 0.02, 150, dtype=np.float32)

STORED = {
    "float32": lambda: ROWS,
    "float64": lambda: ROWS.astype(np.float64),
    "float16 torch": lambda: torch.from_numpy(ROWS).half(),
    "bfloat16": lambda: ROWS.astype(ml_dtypes.bfloat16),
    "bfloat16 torch, with gradient": lambda: torch.from_numpy(ROWS).bfloat16().requires_grad_() * 1,
    "int8": lambda: lf.ChainStore((40 * ROWS).clip(-127, 127).astype(np.int8), [0, 150], scales=SCALES).vectors,
    "a view": lambda: np.repeat(ROWS, 3, axis=0)[1::3, ::-1],
    "a view, torch": lambda: torch.from_numpy(np.repeat(ROWS, 3, axis=0))[1::3],
}

COPIED = {
    "pickle": lambda bank: pickle.loads(pickle.dumps(bank)),
    "pickle 2": lambda bank: pickle.loads(pickle.dumps(bank, protocol=2)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


def answers(bank: Any) -> list[bytes]:
    scores, ids = bank.topk(QUERIES, 5)
    return [scores.tobytes(), ids.tobytes(), bank.rank(QUERIES, np.arange(40)).tobytes()]


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("how", COPIED)
def test_a_copy_answers_as_the_bank(kind, how, normalize):
    bank = lf.VectorBank(STORED[kind](), normalize)
    made = COPIED[how](bank)
    assert (len(made), made.dim, made.normalize) == (150, 70, normalize)
    assert answers(made) == answers(bank)


@pytest.mark.parametrize("kind", STORED)
def test_a_pickle_holds_the_rows_and_not_what_they_are_a_view_of(kind):
    assert len(pickle.dumps(lf.VectorBank(STORED[kind]()))) < 150 * 70 * 4 + 3000


def test_a_deep_copy_is_one_of_its_own():
    rows = ROWS.copy()
    bank = lf.VectorBank(rows)
    expected, made = answers(bank), copy.deepcopy(bank)
    rows[:] = 0
    bank.refill(ROWS[:50])
    assert answers(made) == expected
    made.refill(ROWS[:60])
    assert (len(bank), len(made)) == (50, 60)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    lf.VectorBank(ROWS, normalize=True).save(tmp_path / "bank.safetensors")
    return tmp_path / "bank.safetensors"


@pytest.mark.parametrize("how", COPIED)
def test_an_opened_bank_is_its_path(saved, how, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    bank = lf.VectorBank.open("bank.safetensors")
    assert len(pickle.dumps(bank)) < 1000
    held = pickle.dumps(bank)
    monkeypatch.chdir(tmp_path.parent)
    assert answers(COPIED[how](bank)) == answers(pickle.loads(held)) == answers(lf.VectorBank(ROWS, normalize=True))


def test_a_deep_copy_needs_the_file_no_more(saved):
    bank = lf.VectorBank.open(saved)
    saved.unlink()
    made = copy.deepcopy(copy.deepcopy(bank))
    del bank
    assert answers(made) == answers(lf.VectorBank(ROWS, normalize=True))


def test_a_pickled_path_that_holds_another_bank_is_refused(saved):
    held = pickle.dumps(lf.VectorBank.open(saved))
    for other in (lf.VectorBank(ROWS), lf.VectorBank(ROWS[:149], normalize=True), lf.VectorBank(-ROWS, normalize=True)):
        other.save(saved)
        with pytest.raises(ValueError, match="holds another bank than when this one was pickled"):
            pickle.loads(held)
    saved.unlink()
    with pytest.raises(FileNotFoundError):
        pickle.loads(held)


def test_a_refilled_bank_is_its_rows_again(saved):
    bank = lf.VectorBank.open(saved)
    bank.refill(ROWS[:50])
    saved.unlink()
    assert answers(pickle.loads(pickle.dumps(bank))) == answers(lf.VectorBank(ROWS[:50], normalize=True))


@pytest.mark.parametrize("how", [pickle.dumps, copy.deepcopy, copy.copy])
def test_a_bank_that_a_refill_left_empty_is_refused(how):
    bank = lf.VectorBank(ROWS)
    with pytest.raises(ValueError, match="row 0 holds NaN"):
        bank.refill(ROWS * np.nan)
    with pytest.raises(ValueError, match="the last refill failed"):
        how(bank)


def test_another_process_unpickles_it(saved, tmp_path):
    for name, bank in (("rows", lf.VectorBank(ROWS, normalize=True)), ("path", lf.VectorBank.open(saved))):
        (tmp_path / name).write_bytes(pickle.dumps(bank))
    code = "import pickle, sys; bank = pickle.load(open(sys.argv[1], 'rb')); print(len(bank), type(bank).__name__)"
    for name in ("rows", "path"):
        command = [sys.executable, "-c", code, str(tmp_path / name)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path, timeout=300)
        assert done.stdout.split() == ["150", "VectorBank"]


@pytest.mark.parametrize("how", COPIED)
def test_a_sharded_bank_of_one_process(how):
    bank = ShardedBank(ROWS, 0, normalize=True)
    made = COPIED[how](bank)
    assert repr(made) == repr(bank)
    assert answers(made) == answers(bank) == answers(lf.VectorBank(ROWS, normalize=True))

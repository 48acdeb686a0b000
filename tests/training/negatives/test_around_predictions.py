"""Negatives mined around predictions: by definition, again when due, and kept in checkpoints."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from negatives_by_hand import SETTINGS, lists, mined_by_hand

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows
from lvm_fast.models.registry import create_model
from lvm_fast.training.learner import Learner
from lvm_fast.training.load_data import TrainingData, load_data
from lvm_fast.training.negatives.hard_negatives import own_negatives

CPU = torch.device("cpu")


def taught(recipe):
    """A learner, its negatives and windows."""
    data = load_data(recipe)
    own = own_negatives(recipe, data)
    torch.manual_seed(5)
    model = create_model("memory_gru", input_dim=8, **SETTINGS["model"])
    return Learner(model, recipe, CPU, own_negatives=own), own, data.training


@pytest.mark.parametrize("objective", ["last_position", "all_positions"])
def test_they_are_those_of_the_definition(asked, objective):
    bands = {"hard_negative_cosine_range": [0.2, 0.9], "soft_negative_cosine_range": [-0.1, 0.4]}
    recipe = asked(negatives="prediction", objective=objective, stride=None, **bands)
    learner, own, windows = taught(recipe)
    assert own.start_epoch(learner, windows, 1)
    learner.model.eval()
    queries = {}
    for window, start in enumerate(windows.starts):
        for target in windows.target_rows([window]):
            context = torch.from_numpy(windows.store.vectors[start:target])[None]
            queries[int(target)] = learner.model.predict(context)[0].double().numpy()
    expected = mined_by_hand(windows.store, queries, recipe)
    for kind, table in own.tables.items():
        assert [lists(table)[target] for target in expected[kind]] == list(expected[kind].values())
        assert any(lists(table))
        others = np.setdiff1d(np.arange(len(table)), list(queries))
        assert (table[others] == -1).all()


def test_a_near_copy_of_the_right_answer_is_none_however_far_the_prediction(asked):
    near_copy = [0.9955, -((1 - 0.9955**2) ** 0.5), 0]  # 0.52 from the prediction, the right answer 0.6
    rows = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1], near_copy, [0.52, 0, 0.854]], np.float32)
    store = ChainStore(rows, [0, 2, 5])
    windows = Windows(store, 1, 1, 2)
    recipe = asked(negatives="prediction", soft_negative_cosine_range=[0.3, 0.56], enable_hard_negatives=False)
    own = own_negatives(recipe, TrainingData(windows, windows, store))
    found = own._around(np.array([[0.6, 0.8, 0]], np.float32), np.array([1]), own.kinds[0])
    assert found.tolist() == [[4, -1, -1]]


def test_they_are_mined_again_when_due_and_only_then(asked):
    learner, own, windows = taught(asked(negatives="prediction", negatives_refresh=3))
    before = {name: table.copy() for name, table in own.tables.items()}
    due = []
    for epoch in range(1, 8):
        due.append(own.start_epoch(learner, windows, epoch))
        changed = any(not np.array_equal(table, before[name]) for name, table in own.tables.items())
        assert changed == due[-1]
        before = {name: table.copy() for name, table in own.tables.items()}
        learner.step(windows, np.arange(len(windows)), 1e-2)
    assert due == [True, False, False, True, False, False, True]


def test_a_checkpoint_keeps_them(asked):
    learner, own, windows = taught(asked(negatives="prediction"))
    own.start_epoch(learner, windows, 1)
    other, copy, _ = taught(asked(negatives="prediction"))
    other.wrong_answers.load_state(learner.wrong_answers.state())
    assert all(np.array_equal(table, copy.tables[name]) for name, table in own.tables.items())


def test_predicting_leaves_the_model_as_it_was(asked):
    learner, _, windows = taught(asked(negatives="prediction"))
    learner.model.train()
    before = {name: tensor.clone() for name, tensor in learner.model.state_dict().items()}
    predicted = learner.predict(windows, np.arange(5))
    assert learner.model.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in learner.model.state_dict().items())
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=1), 1, rtol=1e-5)

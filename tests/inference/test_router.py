"""Routers: every context goes to the arm of its length, sees what that arm may see, and survives saving."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.evaluation.predictions import predict_windows
from lvm_fast.models.pretrained import load_single_model

DIM = 16
TINY = {"input_dim": DIM, "hidden_dim": 12, "num_layers": 2, "memory_slots": 8}


def model(seed: int, **changes: int) -> lf.models.base.LatentVectorModel:
    torch.manual_seed(seed)
    return lf.create_model("memory_gru", **{**TINY, **changes}).eval()


def contexts(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((*shape, DIM)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def arms() -> dict[int, lf.models.base.LatentVectorModel]:
    return {9: model(2), 4: model(1), 20: model(3)}


@pytest.fixture
def bank() -> lf.VectorBank:
    return lf.VectorBank(contexts(50, seed=9), normalize=True)


def test_limits_are_inclusive_ascending_and_the_last_takes_the_rest(arms):
    router = lf.Router(arms)
    assert list(router.arms) == [4, 9, 20]
    assert router.arms[9] is arms[9]
    assert router.route([1, 4, 5, 9, 10, 20, 21, 1000]).tolist() == [0, 0, 1, 1, 2, 2, 2, 2]


def test_tokens_are_twenty_a_vector():
    router = lf.Router({2000: model(1), 10_000: model(2)}, unit="tokens")
    assert list(router.arms) == [100, 500]
    assert router.route([100, 101]).tolist() == [0, 1]
    assert list(lf.Router({2019: model(1)}, unit="tokens").arms) == [100]


def alone(arms, row: np.ndarray) -> np.ndarray:
    """The literal rule for one context (n, D): the arm, and its last vectors."""
    fitting = [limit for limit in sorted(arms) if len(row) <= limit]
    limit = fitting[0] if fitting else max(arms)
    return arms[limit].predict(row[None, -limit:])[0]


@pytest.mark.parametrize("kind", ["numpy", "tensor"])
def test_each_row_of_a_padded_batch_is_answered_by_its_own_arm(arms, kind):
    lengths = np.array([3, 26, 9, 4, 12, 20, 5, 1, 26])
    rows = contexts(len(lengths), 26)
    given = rows.copy()
    given[np.arange(26) >= lengths[:, None]] = np.nan  # nobody may look there
    router = lf.Router(arms)
    if kind == "numpy":
        predicted = router.predict(given, lengths)
        assert isinstance(predicted, np.ndarray)
    else:
        predicted = router.predict(torch.from_numpy(given), torch.from_numpy(lengths)).numpy()
    assert predicted.dtype == np.float32
    for row, length, got in zip(rows, lengths, predicted, strict=True):
        np.testing.assert_allclose(got, alone(arms, row[:length]), atol=2e-6)


@pytest.mark.parametrize("length", [4, 5, 33])
def test_contexts_without_lengths_have_one_arm(arms, length):
    rows = contexts(3, length)
    np.testing.assert_allclose(lf.Router(arms).predict(rows), [alone(arms, row) for row in rows], atol=2e-6)


def test_as_a_model_it_gives_the_arms_deltas(arms):
    router = lf.Router(arms).eval()
    rows, lengths = torch.from_numpy(contexts(4, 30)), torch.tensor([4, 30, 7, 21])
    with torch.no_grad():
        deltas = router(rows, lengths)
        expected = [arms[4](rows[:1, :4]), arms[20](rows[1:2, 10:]), arms[9](rows[2:3, :7]), arms[20](rows[3:, 1:21])]
    torch.testing.assert_close(deltas, torch.cat(expected), atol=2e-6, rtol=0)
    assert len(list(router.parameters())) == 3 * len(list(arms[4].parameters()))


def test_a_router_is_for_predicting(arms):
    arms[9].train()
    router = lf.Router(arms)
    store = lf.ChainStore(contexts(40), [0, 40])
    predict_windows(router, lf.Windows(store, 25, 3))
    assert not any(module.training for module in router.modules())


def test_other_precisions_reach_the_arms(arms):
    rows = contexts(1, 9)
    np.testing.assert_array_equal(lf.Router(arms).predict(rows, weights="int8"), arms[9].predict(rows, weights="int8"))


def test_a_precision_that_one_arm_lacks_is_refused_whichever_would_answer(arms):
    other = lf.create_model("amn", input_dim=DIM, hidden_dim=4)
    router = lf.Router({9: arms[9], 25: other})
    for length in (5, 20):
        with pytest.raises(ValueError, match="weights = 'int8' of a AMN; expected 'float32'"):
            router.predict(contexts(1, length), weights="int8")


def lead(bank_rows: np.ndarray, prediction: np.ndarray) -> float:
    """How far the best cosine is ahead, by a full sort in float64."""
    unit = bank_rows.astype(np.float64) / np.linalg.norm(bank_rows.astype(np.float64), axis=1, keepdims=True)
    best = np.sort(unit @ prediction.astype(np.float64))
    return float(best[-1] - best[-2])


@pytest.mark.parametrize("form", ["predict", "forward"])
def test_a_sure_first_arm_answers_longer_contexts_too(arms, bank, form):
    lengths = np.array([3, 8, 12, 25, 9, 14, 25, 7])
    rows = contexts(len(lengths), 25)
    candidates = contexts(50, seed=9)
    parts = [row[:length] for row, length in zip(rows, lengths, strict=True)]
    first = [arms[4].predict(part[None, -4:])[0] for part in parts]
    leads = [lead(candidates, prediction) for prediction in first]
    threshold = float(np.mean(sorted(leads[1:])[3:5]))  # between two of them
    router = lf.Router(arms, bank=bank, threshold=threshold).eval()
    sure = [at == 0 or leads[at] >= threshold for at in range(len(parts))]
    assert 0 < sum(sure[1:]) < len(sure) - 1
    expected = [first[at] if sure[at] else alone(arms, part) for at, part in enumerate(parts)]
    given = torch.from_numpy(rows), torch.from_numpy(lengths)
    if form == "predict":
        predicted = router.predict(*given).numpy()
    else:
        with torch.no_grad():
            answers, chosen = router.routed(*given)
        last = torch.from_numpy(np.stack([part[-1] for part in parts]))
        predicted = lf.reconstruct(last, answers).numpy()
        assert ((chosen == 0) == sure).all()
    np.testing.assert_allclose(predicted, expected, atol=2e-6)


def test_a_threshold_of_zero_leaves_all_to_the_first_arm(arms, bank):
    rows = contexts(3, 25)
    router = lf.Router(arms, bank=bank, threshold=0)
    np.testing.assert_allclose(router.predict(rows), arms[4].predict(rows[:, -4:]), atol=2e-6)
    router.trust(bank, None)
    np.testing.assert_allclose(router.predict(rows), arms[20].predict(rows[:, -20:]), atol=2e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (lambda: ({},), "arms is empty; expected models by the longest context"),
        (lambda: ([model(1)],), "arms is a list; expected models by the longest context"),
        (lambda: ({0: model(1)},), "arms has the limit 0; expected a whole number of at least 1"),
        (lambda: ({True: model(1)},), "the limit True"),
        (lambda: ({1.5: model(1)},), r"the limit 1\.5"),
        (lambda: ({"100": model(1)},), "the limit '100'"),
        (lambda: ({19: model(1)}, "tokens"), "the limit 19; expected a whole number of at least 20"),
        (lambda: ({2000: model(1), 2010: model(2)}, "tokens"), "limits 2000 and 2010, both 100 vectors"),
        (lambda: ({10: model(1)}, "words"), "unit = 'words'; expected 'vectors' or 'tokens'"),
        (lambda: ({10: torch.nn.Linear(2, 2)},), r"arms\[10\] is a Linear; expected a model"),
        (lambda: ({10: model(1), 20: model(2, input_dim=8)},), "arms read 16 and 8 dimensions"),
    ],
)
def test_arms_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(ValueError, match=f"^Router: .*{message}"):
        lf.Router(*arguments())


def test_an_arm_must_read_contexts_up_to_its_limit():
    narrow = model(1)
    narrow.max_context = 7
    assert list(lf.Router({7: narrow}).arms) == [7]
    with pytest.raises(ValueError, match=r"arms\[8\] reads at most 7 vectors; expected a model that reads 8"):
        lf.Router({8: narrow})


@pytest.mark.parametrize(
    ("threshold", "message"),
    [
        (-0.1, "threshold = -0.1"),
        (math.nan, "threshold = nan"),
        (math.inf, "threshold = inf"),
        (True, "threshold = True"),
        ("0.5", "threshold = '0.5'; expected a finite number of at least 0, or None"),
    ],
)
def test_thresholds_that_mean_nothing_are_refused(arms, bank, threshold, message):
    with pytest.raises(ValueError, match=f"^Router: {message}"):
        lf.Router(arms, bank=bank, threshold=threshold)


def test_a_threshold_needs_a_bank_that_fits(arms):
    with pytest.raises(ValueError, match="a threshold needs a bank"):
        lf.Router(arms, threshold=0.1)
    for rows in (np.ones((5, 8), np.float32), np.ones((1, DIM), np.float32)):
        with pytest.raises(ValueError, match=r"expected at least 2 of 16, as the arms read"):
            lf.Router(arms, bank=lf.VectorBank(rows), threshold=0.1)
    with pytest.raises(ValueError, match=r"Router\.margins: the router has no bank"):
        lf.Router(arms).margins(torch.ones(1, DIM))


@pytest.mark.parametrize(
    ("context", "lengths", "message"),
    [
        (np.ones((2, 3), np.float32), None, r"router: context has shape \(2, 3\)"),
        (np.ones((2, 3, 8), np.float32), None, r"expected \(B, N, 16\)"),
        (np.ones((0, 3, DIM), np.float32), None, r"\(0, 3, 16\)"),
        (np.ones((2, 3, DIM), np.int64), None, "dtype int64"),
        ([[1.0]], None, "context is a list"),
        (np.ones((2, 3, DIM), np.float32), [3, 4], r"lengths\[1\] = 4; expected 1 to 3"),
        (np.ones((2, 3, DIM), np.float32), [3], r"expected int64 \(2,\)"),
        (np.full((1, 30, DIM), np.nan, np.float32), None, r"context\[0, 0\] holds NaN"),
    ],
)
def test_contexts_that_do_not_fit_are_refused(arms, context, lengths, message):
    with pytest.raises(ValueError, match=message):
        lf.Router(arms).predict(context, lengths)


def test_unknown_weights_are_refused(arms):
    with pytest.raises(ValueError, match="weights = 'int4'"):
        lf.Router(arms).predict(contexts(1, 3), weights="int4")


def test_one_context_alone_gives_one_vector(arms, bank):
    router, rows = lf.Router(arms, bank=bank, threshold=0.05), contexts(12)
    expected = router.predict(rows[None])[0]
    np.testing.assert_array_equal(router.predict(rows), expected)
    assert torch.equal(router.predict(torch.from_numpy(rows)), torch.from_numpy(expected))
    np.testing.assert_allclose(router.predict(rows, np.int64(3)), router.predict(rows[:3]), atol=2e-6)
    with pytest.raises(ValueError, match=r"router: context has shape \(12, 8\); expected \(B, N, 16\), or \(N, 16\)"):
        router.predict(rows[:, :8])


def test_numbers_of_numpy_and_torch_are_plain_and_can_be_saved(arms, bank, tmp_path):
    limits = [np.int64(4), np.uint8(9), torch.tensor(20)]
    given = dict(zip(limits, (arms[4], arms[9], arms[20]), strict=True))
    router = lf.Router(given, np.str_("vectors"), bank=bank, threshold=np.float32(0.5))
    router.metrics = {"hit5": np.float32(12.5), "pool": np.int64(50)}
    assert (router.limits, router.threshold, router.unit) == ([4, 9, 20], 0.5, "vectors")
    assert [type(number) for number in (*router.limits, *router.arms, router.threshold)] == [int] * 6 + [float]
    router.save_pretrained(tmp_path / "r")
    loaded = lf.load_model(tmp_path / "r")
    assert (loaded.limits, loaded.threshold, loaded.metrics) == ([4, 9, 20], 0.5, {"hit5": 12.5, "pool": 50})


@pytest.mark.parametrize("form", [copy.deepcopy, lambda router: pickle.loads(pickle.dumps(router))])
def test_a_router_is_copied_and_pickled_with_its_models(arms, form):
    router, rows, lengths = lf.Router(arms), contexts(6, 25), [3, 8, 12, 25, 9, 14]
    expected = router.predict(rows, lengths)
    copied = form(router)
    np.testing.assert_array_equal(copied.predict(rows, lengths), expected)
    assert (copied.limits, copied.unit, list(copied.arms)) == (router.limits, router.unit, list(router.arms))
    copied.arms[9].output_proj[3].bias.data.add_(1.0)
    assert not np.array_equal(copied.predict(rows, lengths), expected)
    np.testing.assert_array_equal(router.predict(rows, lengths), expected)


@pytest.mark.parametrize("form", [copy.deepcopy, lambda router: pickle.loads(pickle.dumps(router))])
@pytest.mark.parametrize("opened", [False, True])
def test_a_router_is_copied_and_pickled_with_its_bank(arms, bank, tmp_path, form, opened):
    router, rows, lengths = lf.Router(arms, bank=bank, threshold=0.05), contexts(6, 25), [3, 8, 12, 25, 9, 14]
    expected = router.predict(rows, lengths)
    if opened:
        router.save_pretrained(tmp_path / "r")
        router = lf.load_model(tmp_path / "r")
    copied = form(router)
    np.testing.assert_array_equal(copied.predict(rows, lengths), expected)
    assert (copied.threshold, len(copied.bank)) == (0.05, 50)


@pytest.mark.parametrize("change", ["weights", "an arm", "its modules"])
def test_changes_of_an_arm_reach_predictions(arms, change):
    router, rows = lf.Router(arms), contexts(1, 8)
    before = router.predict(rows)
    if change == "weights":
        arms[9].output_proj[3].bias.data.add_(1.0)
    elif change == "an arm":
        router.arm_9 = model(7)
    else:
        arms[9].output_proj.append(torch.nn.Hardtanh(-0.01, 0.01))
    assert not np.allclose(router.predict(rows), before)
    np.testing.assert_array_equal(router.predict(rows), router.arms[9].predict(rows))


def test_arms_of_several_dtypes_answer_close_to_float32(arms):
    rows, lengths = torch.from_numpy(contexts(6, 25)), torch.tensor([3, 8, 12, 25, 9, 14])
    router = lf.Router(arms)
    expected = router.predict(rows, lengths)
    with torch.no_grad():
        deltas = router(rows, lengths)
    for arm, dtype in zip(arms.values(), (torch.bfloat16, torch.float64, torch.float16), strict=True):
        arm.to(dtype)
    got = router.predict(rows, lengths)
    assert got.dtype == torch.float32
    assert float((got - expected).norm(dim=1).max()) < 2e-2
    for dtype in (torch.float32, torch.float64):
        with torch.no_grad():
            close = router(rows.to(dtype), lengths)
        assert close.dtype == dtype
        torch.testing.assert_close(close.float(), deltas, atol=3e-2, rtol=0)


def test_a_saved_router_predicts_the_same(arms, bank, tmp_path):
    rows, lengths = contexts(6, 25), [3, 8, 12, 25, 9, 14]
    router = lf.Router(arms, bank=bank, threshold=0.05)
    router.metrics = {"hit5": 12.5, "pool": 50}
    router.save_pretrained(tmp_path / "new" / "router")
    loaded = lf.Router.load(tmp_path / "new" / "router")
    np.testing.assert_array_equal(loaded.predict(rows, lengths), router.predict(rows, lengths))
    assert (loaded.unit, loaded.limits, loaded.threshold) == ("vectors", [4, 9, 20], 0.05)
    assert (loaded.metrics, len(loaded.bank), loaded.training) == (router.metrics, 50, False)
    card = (tmp_path / "new" / "router" / "README.md").read_text()
    assert "| 9 | memory_gru | " in card
    assert "among 50 vectors leads the second best by at least 0.05" in card
    opened = lf.load_model(tmp_path / "new" / "router")
    np.testing.assert_array_equal(opened.predict(rows, lengths), router.predict(rows, lengths))
    assert lf.load_model(tmp_path / "new" / "router" / "arm-9").model_type == "memory_gru"


def test_tokens_stay_tokens(tmp_path):
    lf.Router({2019: model(1), 10_000: model(2)}, unit="tokens").save_pretrained(tmp_path / "r")
    loaded = lf.Router.load(tmp_path / "r")
    assert (loaded.unit, loaded.limits, list(loaded.arms)) == ("tokens", [2019, 10_000], [100, 500])
    assert loaded.bank is None
    assert "first asked" not in (tmp_path / "r" / "README.md").read_text()


def test_saving_replaces_a_router_as_a_whole_and_nothing_else(arms, tmp_path):
    lf.Router(arms).save_pretrained(tmp_path / "r")
    lf.Router({5: model(1)}).save_pretrained(tmp_path / "r")
    assert sorted(item.name for item in (tmp_path / "r").iterdir()) == ["README.md", "arm-5", "router.json"]
    (tmp_path / "mine").mkdir()
    lf.Router(arms).save_pretrained(tmp_path / "mine")  # an empty folder is free
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for place in ("home", "file"):
        with pytest.raises(FileExistsError, match="holds something that is no router"):
            lf.Router(arms).save_pretrained(tmp_path / place)
    assert (tmp_path / "home" / "thesis.txt").read_text() == "precious"


def test_a_save_that_fails_leaves_the_old_router(arms, tmp_path, monkeypatch):
    lf.Router({5: model(1)}).save_pretrained(tmp_path / "r")
    before = (tmp_path / "r" / "router.json").read_text()

    def full(self, folder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lf.models.memory_gru.MemoryGRU, "save_pretrained", full)
    for place in ("r", "new/router"):
        with pytest.raises(OSError, match="No space left"):
            lf.Router(arms).save_pretrained(tmp_path / place)
    assert (tmp_path / "r" / "router.json").read_text() == before
    assert [item.name for item in tmp_path.iterdir()] == ["r"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda saved: "{", ValueError, r"router\.json: expected JSON with 'unit', 'arms'"),
        (lambda saved: "[]", ValueError, r"router\.json: expected JSON"),
        (lambda saved: {**saved, "arms": {"x": "arm-4"}}, ValueError, r"router\.json: expected JSON"),
        (lambda saved: {**saved, "arms": {"4": "../arm-4"}}, ValueError, r"router\.json: expected JSON"),
        (lambda saved: {**saved, "arms": {}}, ValueError, r"router\.json: Router: arms is empty"),
        (lambda saved: {**saved, "unit": "words"}, ValueError, r"router\.json: Router: unit = 'words'"),
        (lambda saved: {**saved, "threshold": -1}, ValueError, r"router\.json: Router: threshold = -1"),
        (lambda saved: {**saved, "bank": None}, ValueError, "a threshold needs a bank"),
        (lambda saved: {**saved, "bank": "other"}, FileNotFoundError, "other"),
        (lambda saved: {**saved, "arms": {"4": "arm-5"}}, FileNotFoundError, "no model at .*arm-5"),
        (lambda saved: {key: saved[key] for key in ("arms", "unit")}, ValueError, "'threshold' and 'bank'"),
    ],
)
def test_damaged_folders_are_refused(arms, bank, tmp_path, change, error, message):
    lf.Router(arms, bank=bank, threshold=0.1).save_pretrained(tmp_path / "r")
    path = tmp_path / "r" / "router.json"
    changed = change(json.loads(path.read_text()))
    path.write_text(changed if isinstance(changed, str) else json.dumps(changed))
    with pytest.raises(error, match=message):
        lf.Router.load(tmp_path / "r")


def test_what_is_no_router_is_said_to_be_none(tmp_path):
    lf.Router({5: model(1)}).save_pretrained(tmp_path / "r")
    with pytest.raises(ValueError, match=r"load_model: '.*r' holds a router; expected a single model"):
        load_single_model(tmp_path / "r")
    with pytest.raises(
        FileNotFoundError, match=r"Router\.load: no router at .*nowhere'; expected a folder with router"
    ):
        lf.Router.load(tmp_path / "nowhere")

"""Routers measured: shares, figures and times of arms and mix, and thresholds read off held-out chains."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.data.windows import GivenWindows
from lvm_fast.evaluation.evaluate_router import arms_table
from lvm_fast.evaluation.figures import CLOSED_FORMS
from lvm_fast.evaluation.latency import latencies
from lvm_fast.models.memory_gru import MemoryGRU

from .conftest import DIM, drifting_store

SIZES = {"input_dim": DIM, "hidden_dim": 8, "num_layers": 1, "memory_slots": 4}


class CopyLast(MemoryGRU):
    """Predicts the current vector again: on drifting chains, not bad."""

    def forward(self, context, lengths=None):
        return torch.zeros(context.shape[0], context.shape[2])


class Muddled(MemoryGRU):
    """Predicts the current vector, but goes astray where its first number is negative."""

    def forward(self, context, lengths=None):
        last = context[:, -1] if lengths is None else context[torch.arange(len(context)), lengths - 1]
        astray = (last[:, :1] < 0).float()
        return -3.0 * last * astray


@pytest.fixture
def arms():
    torch.manual_seed(0)
    return {6: Muddled(**SIZES).eval(), 20: MemoryGRU(**SIZES).eval(), 40: CopyLast(**SIZES).eval()}


@pytest.fixture
def bank():
    return lf.VectorBank(drifting_store([80], seed=8).vectors, normalize=True)


def test_each_arm_and_the_mix_are_scored_on_the_same_queries(arms, store):
    router = lf.Router(arms)
    report = lf.evaluate_router(router, store, stride=3, bootstrap=50, timed=3)
    windows = lf.Windows(store, 40, 3)
    assert report.queries == len(windows)
    for name, model in {"model": router, **{f"arm {n}": lf.Router({n: arm}) for n, arm in arms.items()}}.items():
        alone = lf.evaluate(model, windows, bootstrap=50)
        assert report.scores[name] == alone.scores["model"]
        assert report.intervals[name] == alone.intervals["model"]
    assert report.baselines.keys() == {"arm 6", "arm 20", "arm 40", *CLOSED_FORMS, "chance"}
    shares = [np.mean(windows.lengths <= 6), np.mean((windows.lengths > 6) & (windows.lengths <= 20))]
    assert [arm.answered for arm in report.arms] == pytest.approx([*shares, 1 - sum(shares)])
    assert all(arm.asked == arm.answered for arm in report.arms)
    assert set(report.latencies) == {"model", "arm 6", "arm 20", "arm 40"}
    assert all(latency.median_ms > 0 and latency.contexts == 3 for latency in report.latencies.values())


def test_a_router_that_asks_the_first_arm_counts_it(arms, store, bank):
    router = lf.Router(arms, bank=bank, threshold=0.1)
    windows = lf.Windows(store, 40, 3)
    report = lf.evaluate_router(router, windows, bootstrap=50, timed=2)
    batch = windows.batch(np.arange(len(windows)))
    chosen = router.routed(torch.from_numpy(batch.context), torch.from_numpy(batch.lengths)).arms
    assert 0 < np.mean(chosen == 0) < 1
    assert [arm.answered for arm in report.arms] == pytest.approx([np.mean(chosen == place) for place in range(3)])
    assert [arm.asked for arm in report.arms] == pytest.approx([1, *(np.mean(chosen == place) for place in (1, 2))])


def test_the_report_tells_of_the_arms(arms, store, tmp_path):
    report = lf.evaluate_router(lf.Router(arms), store, stride=3, bootstrap=50, timed=2)
    report.save(tmp_path)
    document, numbers = (tmp_path / "report.md").read_text(), json.loads((tmp_path / "report.json").read_text())
    assert f"## The arms\n\n{arms_table(report)}\n" in document
    rows = arms_table(report).splitlines()
    assert [row.split()[1:3] for row in rows[4:]] == [["router", "|"], ["arm", "6"], ["arm", "20"], ["arm", "40"]]
    assert f"{100 * report.arms[0].answered:.1f}%" in rows[5]
    assert numbers["arms"][1]["longest"] == 20
    assert numbers["latencies"]["arm 40"]["median_ms"] == report.latencies["arm 40"].median_ms


def test_queries_may_share_a_target(arms, store):
    starts, targets = np.array([0, 10, 80, 90]), np.array([30, 30, 100, 100])
    shared = GivenWindows(store, starts, targets)
    report = lf.evaluate_router(lf.Router(arms), shared, bootstrap=20, timed=2)
    assert (report.queries, report.pool) == (4, 2)
    assert report.curve == [] or report.curve[-1].pool == len(store.vectors)
    sized = lf.evaluate(lf.Router(arms), shared, pool=1, bootstrap=20)
    assert (sized.queries, sized.pool) == (2, 1)
    assert sized.hits["hit@1"] == 1


def test_arms_of_every_dtype_are_scored_and_calibrated_close_to_float32(store, bank):
    def made():
        torch.manual_seed(0)
        return lf.Router({6: MemoryGRU(**SIZES), 40: MemoryGRU(**SIZES)})

    def measured(router):
        found = lf.calibrate_router(router, store, bank, stride=3, tolerance=0.1)
        return found, lf.evaluate_router(router, store, stride=3, bootstrap=20, timed=1, curve=False)

    found, report = measured(made())
    router = made()
    router.arm_6.double(), router.arm_40.bfloat16()
    again, rounded = measured(router)
    assert again.threshold == pytest.approx(found.threshold, abs=1e-2)
    for name in ("model", "arm 6", "arm 40"):
        assert rounded.scores[name]["mean_cosine"] == pytest.approx(report.scores[name]["mean_cosine"], abs=1e-3)


def test_measuring_leaves_the_mode_of_arms_as_it_was(arms, store, bank):
    router = lf.Router(arms)
    arms[20].train()
    lf.calibrate_router(router, store, bank, stride=3)
    lf.evaluate_router(router, store, stride=3, bootstrap=20, timed=1, curve=False)
    assert [any(module.training for module in arm.modules()) for arm in arms.values()] == [False, True, False]


def brute_force(router, windows, bank, tolerance):
    """The least lead, of all that occur, from which the first arm may answer."""
    router.trust(bank, None)
    before = lf.evaluate(router, windows, bootstrap=1, curve=False).hits["hit@5"]
    limit, first = next(iter(router.arms.items()))
    batch = windows.batch(np.flatnonzero(windows.lengths > limit))
    given = torch.from_numpy(batch.context), torch.from_numpy(batch.lengths)
    with torch.no_grad():
        deltas = lf.Router({limit: first})(*given)
    last = given[0][torch.arange(len(deltas)), given[1] - 1]
    good = []
    for lead in np.unique(router.margins(lf.reconstruct(last, deltas))):
        router.trust(bank, float(lead))
        if lf.evaluate(router, windows, bootstrap=1, curve=False).hits["hit@5"] >= before - tolerance - 1e-12:
            good.append(float(lead))
    return min(good, default=None)


@pytest.mark.parametrize("tolerance", [0.0, 0.08, 0.3])
def test_the_threshold_is_the_least_that_costs_nothing(arms, store, bank, tolerance):
    windows = lf.Windows(store, 40, 4)
    router = lf.Router({6: arms[6], 40: arms[40]})
    expected = brute_force(router, windows, bank, tolerance)
    found = lf.calibrate_router(router, windows, bank, tolerance=tolerance)
    assert found.threshold == router.threshold == pytest.approx(expected, abs=1e-6)
    assert router.bank is bank
    assert (found.pool, found.queries, found.longer) == (len(windows), len(windows), np.sum(windows.lengths > 6))
    assert found.difference >= -tolerance
    with_it = lf.evaluate(router, windows, bootstrap=1).hits["hit@5"]
    router.trust(None, None)
    assert with_it - lf.evaluate(router, windows, bootstrap=1).hits["hit@5"] == pytest.approx(found.difference)


@pytest.mark.parametrize("losses", [1, 2, 3, 4, 5])
def test_equal_leads_are_trusted_together_or_not_at_all(arms, store, bank, losses):
    once = lf.Windows(store, 40, 4)
    twice = GivenWindows(store, np.repeat(once.starts, 2), np.repeat(once.targets, 2))
    router = lf.Router({6: arms[6], 40: arms[40]})
    found = lf.calibrate_router(router, twice, bank, tolerance=losses / len(twice))
    with_it = lf.evaluate(router, twice, bootstrap=1).hits["hit@5"]
    router.trust(bank, None)
    difference = with_it - lf.evaluate(router, twice, bootstrap=1).hits["hit@5"]
    assert difference == pytest.approx(found.difference)
    assert difference >= -losses / len(twice) - 1e-12


def test_a_first_arm_that_is_always_wrong_is_never_trusted(store, bank):
    class Wrong(MemoryGRU):
        def forward(self, context, lengths=None):
            return -3.0 * (context[:, -1] if lengths is None else context[torch.arange(len(context)), lengths - 1])

    router = lf.Router({6: Wrong(**SIZES), 40: CopyLast(**SIZES)}, bank=bank, threshold=0.5)
    found = lf.calibrate_router(router, store, bank, stride=4)
    assert (found.threshold, found.share, found.difference, router.threshold) == (None, 0, 0, None)


def test_a_first_arm_that_is_as_good_answers_everything(store, bank):
    router = lf.Router({6: CopyLast(**SIZES), 40: CopyLast(**SIZES)})
    found = lf.calibrate_router(router, store, bank, stride=4)
    assert (found.share, found.difference) == (1, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -0.1}, "tolerance = -0.1"),
        ({"k": 0}, "k = 0"),
        ({"k": 2.5}, "k = 2.5: expected a whole number"),
        ({"tolerance": "0"}, "tolerance = 0: expected a finite number"),
        ({"context_length": 6}, "the longest context has 6 vectors; expected some of more than 6"),
    ],
)
def test_calibrations_that_cannot_be_are_refused(arms, store, bank, options, message):
    with pytest.raises(ValueError, match=f"^calibrate_router: .*{message}"):
        lf.calibrate_router(lf.Router(arms), store, bank, **options)


def test_a_calibration_takes_numpy_s_scalars(arms, store, bank):
    plain = lf.calibrate_router(lf.Router(arms), store, bank, 40, stride=4, tolerance=0.5, k=3, batch_size=64)
    numbers = {"stride": np.int64(4), "tolerance": np.float32(0.5), "k": np.int8(3), "batch_size": np.int64(64)}
    assert lf.calibrate_router(lf.Router(arms), store, bank, np.int32(40), **numbers) == plain


@pytest.mark.parametrize("timed", [0, 2.5])
def test_a_number_of_timed_contexts_that_cannot_be_is_called_by_its_name(arms, store, timed):
    message = rf"^evaluate_router: timed: expected a whole number of at least 1, got {timed}"
    with pytest.raises(ValueError, match=message):
        lf.evaluate_router(lf.Router(arms), store, timed=timed)


def test_a_calibration_calls_its_batch_size_by_its_name(arms, store, bank):
    with pytest.raises(
        ValueError, match=r"^calibrate_router: batch_size: expected a whole number of at least 1, got 0"
    ):
        lf.calibrate_router(lf.Router(arms), store, bank, batch_size=0)


def test_times_need_a_context(arms, store):
    with pytest.raises(ValueError, match="contexts = 0; expected at least 1"):
        latencies(arms, lf.Windows(store, 10), 0)


def test_the_command_scores_a_router(trained_run, tmp_path, capsys):
    model = lf.load_model(trained_run)
    lf.Router({3: model, 9: model}).save_pretrained(tmp_path / "router")
    words = ["evaluate", str(tmp_path / "router"), "--bootstrap", "20"]
    assert main(words) == 2
    assert "is no training run, so --data has to say which chains to score" in capsys.readouterr().err
    assert main([*words, "--data", str(trained_run.parent / "chains.safetensors"), "--seed", "5"]) == 0
    printed = capsys.readouterr().out
    assert "router minus it" in printed
    report = json.loads((tmp_path / "router" / "report.json").read_text())
    assert (report["model_type"], report["context_length"]) == ("router", 9)
    assert report["data"]["split"]["seed"] == 5
    assert lf.Router.load(tmp_path / "router").limits == [3, 9]

"""`VectorBank(device=...)`: the engine of a GPU, pretended and, where there is one, on it."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from device_banks import CPU, HARD_SETS, answers, engine_of

import lvm_fast as lf
from lvm_fast.retrieval.device_bank import DeviceBank
from lvm_fast.retrieval.device_rows import Place

GOOD = np.ones((4, 3), np.float32)
NAN = np.array([[1, 2, 3], [1, np.nan, 3], [np.inf, 0, 0]], np.float32)


@pytest.fixture
def pretended(monkeypatch):
    """A machine whose GPU is the CPU."""
    monkeypatch.setattr("lvm_fast.retrieval.device_bank.choose_device", lambda name: torch.device("mps"))
    monkeypatch.setattr(Place, "of", lambda device: Place(CPU, CPU, torch.float16, 4000))


def test_device_chooses_the_engine(pretended, rng):
    vectors = rng.standard_normal((200, 16)).astype(np.float32)
    queries, targets = vectors[:20] + 1, np.arange(20)
    core, bank = lf.VectorBank(vectors), lf.VectorBank(vectors, device="mps")
    assert (engine_of(bank), bank.device, core.device) == (DeviceBank, "mps", "cpu")
    assert repr(bank) == "VectorBank(200 x 16, normalize=False, device='mps')"
    assert lf.hit_at_k(queries, targets, bank=bank) == lf.hit_at_k(queries, targets, bank=core)
    for made in (pickle.loads(pickle.dumps(bank)), copy.deepcopy(bank), copy.copy(bank)):
        assert (engine_of(made), made.device) == (DeviceBank, "mps")
        assert answers(made, queries, targets) == answers(core, queries, targets)
    for each in (core, bank):
        each.refill(vectors[::-1])
    assert answers(bank, queries, targets) == answers(core, queries, targets)


@pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
def test_a_bank_on_a_device_changes_as_any_other(pretended, rng, metric):
    vectors = rng.standard_normal((300, 16)).astype(np.float32)
    queries, targets = vectors[:20] + 1, np.arange(20)
    core, bank = (lf.VectorBank(vectors, metric=metric, device=device) for device in ("cpu", "mps"))
    for each in (core, bank):
        assert each.append(vectors[:50] + 0.5).tolist() == list(range(300, 350))
        each.remove([25, 299, 310])
    for other in (core, copy.deepcopy(bank)):
        assert answers(bank, queries, targets, metric) == answers(other, queries, targets, metric)
    assert {type(segment.core) for segment in bank._contents.segments} == {DeviceBank}
    if metric != "l2":
        np.testing.assert_allclose(bank.logsumexp(queries)[0], core.logsumexp(queries)[0], rtol=1e-6)


def test_a_removed_candidate_that_overflows_is_no_part_of_a_sum(pretended):
    bank = lf.VectorBank([[1.0], [3e38]], device="mps")
    bank.remove(1)
    assert bank.logsumexp([[2.0]])[0] == 2.0


def test_a_bank_on_a_device_is_saved_as_any_other(pretended, rng, tmp_path):
    vectors = rng.standard_normal((200, 16)).astype(np.float32)
    for name, device in (("here", "cpu"), ("there", "mps")):
        lf.VectorBank(vectors, normalize=True, device=device).save(tmp_path / name)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()
    assert lf.VectorBank.open(tmp_path / "there").device == "cpu"


def test_a_failed_refill_leaves_a_bank_that_says_so(pretended):
    bank = lf.VectorBank(GOOD, device="mps")
    with pytest.raises(ValueError, match=r"refill: vectors: row 1 holds NaN"):
        bank.refill(NAN)
    with pytest.raises(ValueError, match="the last refill failed"):
        bank.topk(GOOD, 1)
    bank.refill(GOOD)
    assert bank.rank(GOOD[:1], [0])[0] == 0


@pytest.mark.parametrize("device", ["tpu", "cpu:1", 3, None])
def test_what_is_no_device_is_refused(device):
    with pytest.raises(ValueError, match=f"VectorBank: device = '{device}'; expected one of auto, cpu, cuda, mps"):
        lf.VectorBank(GOOD, device=device)


def test_a_device_that_is_not_there_is_refused():
    missing = "mps" if torch.cuda.is_available() else "cuda"
    with pytest.raises(ValueError, match=f"VectorBank: device = '{missing}', which torch does not find here"):
        lf.VectorBank(GOOD, device=missing)


def test_half_precision_where_there_is_no_float64():
    assert Place.of(torch.device("mps"))[:3] == (torch.device("mps"), CPU, torch.float16)
    assert Place.of(torch.device("cuda"))[:3] == (torch.device("cuda"), torch.device("cuda"), torch.float16)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
class TestOnCuda:
    @pytest.mark.parametrize("metric", ["ip", "cosine", "l2"])
    @pytest.mark.parametrize("kind", HARD_SETS)
    def test_bit_for_bit_what_the_core_answers(self, rng, kind, metric):
        vectors = HARD_SETS[kind](rng, 5000, 96).astype(np.float32)
        vectors[~vectors.any(axis=1)] = 1
        queries = vectors[:40] + rng.standard_normal((40, 96)).astype(np.float32) * 1e-3
        targets = rng.integers(0, 5000, 40)
        bank, core = (lf.VectorBank(vectors, metric=metric, device=device) for device in ("cuda", "cpu"))
        assert answers(bank, queries, targets, metric) == answers(core, queries, targets, metric)

    @pytest.mark.parametrize("size", [1000, 100_000])
    def test_real_widths_under_autocast(self, rng, size):
        vectors = rng.standard_normal((size, 768)).astype(np.float32)
        queries, targets = vectors[:300] + rng.standard_normal((300, 768)).astype(np.float32), np.arange(300)
        bank, core = lf.VectorBank(vectors, True, device="cuda"), lf.VectorBank(vectors, True)
        with torch.autocast("cuda"):
            found = answers(bank, queries, targets)
        assert found == answers(core, queries, targets)
        np.testing.assert_allclose(bank.logsumexp(queries, 20.0)[0], core.logsumexp(queries, 20.0)[0], rtol=1e-5)


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs MPS")
@pytest.mark.parametrize("kind", HARD_SETS)
def test_bit_for_bit_on_mps(rng, kind):
    vectors = HARD_SETS[kind](rng, 3000, 96).astype(np.float32)
    queries, targets = vectors[:40] + np.float32(1e-3), rng.integers(0, 3000, 40)
    core = lf.VectorBank(vectors)
    assert answers(lf.VectorBank(vectors, device="mps"), queries, targets) == answers(core, queries, targets)

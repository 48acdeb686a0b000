"""`compare_precisions` and `lvm-fast export --compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

from lvm_fast.export import compare as compare_module
from lvm_fast.export.compare import VARIANTS, BatchedProgram, PrecisionComparison, compare_precisions
from lvm_fast.export.coremltools_compat import ct
from lvm_fast.export.mil.interpreter import SavedProgram
from lvm_fast.export.mil.program import Form
from lvm_fast.export.mil.registry import build_program

from .test_model_types import crowded, model_of

SIZES = {"contexts": (3,), "streaming": False}


@pytest.fixture(scope="module")
def store() -> ChainStore:
    """Six chains of vectors that cannot be told apart well: half of their queries are close calls."""
    rows = np.random.default_rng(5).standard_normal((6 * 60, 64)).astype(np.float32)
    return ChainStore(lf.l2_normalize(rows), np.arange(0, 361, 60))


@pytest.fixture(scope="module")
def comparison(small_model: Any, store: ChainStore) -> PrecisionComparison:
    model = small_model(input_dim=64, hidden_dim=48, memory_slots=64)
    return compare_precisions(model, store, context_length=8, stride=1, bootstrap=100, data_name="noise", **SIZES)


def test_every_variant_is_a_verified_row(comparison: PrecisionComparison) -> None:
    assert [row.name for row in comparison.rows] == list(VARIANTS)
    assert all(row.verified for row in comparison.rows)


def test_fewer_bits_are_smaller_and_farther_from_the_model(comparison: PrecisionComparison) -> None:
    sizes = [row.package_bytes for row in comparison.rows]
    assert sizes == sorted(sizes, reverse=True)
    errors = [row.max_abs_error for row in comparison.rows]
    assert errors == sorted(errors)
    assert comparison.rows[0].max_abs_error < 1e-5
    assert all(row.program_error < 2e-3 for row in comparison.rows)


def test_changes_are_differences_from_torch_in_pairs(comparison: PrecisionComparison) -> None:
    exact, *_, coarse = comparison.rows
    assert (exact.change, exact.interval) == (0.0, (0.0, 0.0))
    for row in comparison.rows:
        assert row.interval is not None
        assert row.interval[0] <= row.change <= row.interval[1]
    assert coarse.interval != (0.0, 0.0)  # 4 bits lose and win some


def test_hits_are_those_of_the_saved_program_window_by_window(
    comparison: PrecisionComparison, store: ChainStore, small_model: Any, tmp_path: Path
) -> None:
    model, windows = small_model(input_dim=64, hidden_dim=48, memory_slots=64), lf.Windows(store, 8, 1)
    package = lf.export_coreml(
        model, tmp_path / "m.mlpackage", contexts=(), flexible=8, streaming=False, compress="palette4"
    )
    saved, targets = SavedProgram(package), store.vectors[windows.targets]
    contexts = [windows.batch([place]).context for place in range(len(windows))]
    found = np.concatenate([saved.run("predict", {"context": context})["next_vector"] for context in contexts])
    wanted = np.concatenate([model.predict(context) for context in contexts])
    scores, of_torch = (lf.hit_at_k(predicted, targets, ks=(5,)) for predicted in (found, wanted))
    coarse, means = comparison.rows[-1], comparison.report.baselines["palette4"]
    close = 1.5 / len(windows)  # sums in another order may decide a close call
    assert coarse.hit5 == means["hit@5"] == pytest.approx(scores["hit@5"], abs=close)
    assert coarse.change == pytest.approx(scores["hit@5"] - of_torch["hit@5"], abs=close)
    cosines, of_model = ((predicted * targets).sum(axis=1).mean() for predicted in (found, wanted))
    assert means["mean_cosine"] == pytest.approx(cosines, abs=1e-5)
    assert abs(cosines - of_model) > 5e-5


def test_the_table_tells_pool_chains_and_baselines(comparison: PrecisionComparison) -> None:
    text = comparison.to_text()
    for name in (*VARIANTS, "torch", "copy-last", "recency mean"):
        assert f"| {name} " in text
    assert "Data: noise." in text
    assert f"The pool of {comparison.report.pool} holds the targets" in text
    assert "queries from 6 chains" in text
    assert "95% interval over chains" in text
    assert "failed verification" not in text
    plain = comparison.to_dict()
    assert plain["pool"] == comparison.report.pool
    assert [row["name"] for row in plain["rows"]] == list(VARIANTS)


def test_a_batched_program_is_the_model_at_every_length(model: LatentVectorModel) -> None:
    program = BatchedProgram(build_program(model, Form("float32", ct.target.iOS18)), model)
    context = torch.from_numpy(lf.l2_normalize(np.random.default_rng(0).standard_normal((7, 6, 16)).astype(np.float32)))
    lengths = torch.tensor([6, 2, 6, 1, 2, 6, 5])
    for rows in (slice(None), slice(0, 3)):
        with torch.no_grad():
            wanted = model(context[rows], lengths[rows])
        torch.testing.assert_close(program(context[rows], lengths[rows]), wanted, atol=1e-5, rtol=0)


def test_a_batched_program_in_a_space_answers_as_the_model_does() -> None:
    model = model_of("recency_residual whitened")
    program = BatchedProgram(build_program(model, Form("float32", ct.target.iOS18)), model)
    rows, lengths = crowded(16)[:12].reshape(2, 6, 16), np.array([6, 4])
    assert program.has_keys
    np.testing.assert_array_equal(program.keys(rows[0]), model.keys(rows[0]))
    for name in ("predict", "query"):
        wanted = getattr(model, name)(rows, lengths)
        np.testing.assert_allclose(getattr(program, name)(rows, lengths), wanted, atol=1e-6)


@pytest.mark.parametrize("name", ["gru whitened", "recency_residual"])
def test_a_model_with_keys_is_scored_among_them(name: str, store: ChainStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_module, "VARIANTS", {"float32": ("float32", None)})
    model, windows = model_of(name, 64), lf.Windows(store, 8, 4)
    comparison = compare_precisions(model, windows, bootstrap=20, exclude_read=False, **SIZES)
    queries = np.concatenate([model.query(windows.batch([place]).context) for place in range(len(windows))])
    bank = model.bank(store.vectors[windows.targets])
    wanted = float((bank.rank(queries, np.arange(len(windows))) < 5).mean())
    (row,) = comparison.rows
    assert row.verified
    assert row.hit5 == comparison.report.hits["hit@5"] == pytest.approx(wanted, abs=1e-9)
    assert row.change == 0.0


def test_the_command_prints_the_table(
    wide_model: LatentVectorModel,
    store: ChainStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compare_module, "VARIANTS", {"float16": ("float16", None)})
    wide_model.save_pretrained(tmp_path / "saved")
    ChainStore.write(tmp_path / "noise.safetensors", store.vectors, store.offsets)
    command = ["export", str(tmp_path / "saved"), "--compare", "--contexts", "3", "--no-streaming", "--split", "all"]
    assert main([*command, "--data", str(tmp_path / "noise.safetensors"), "--context-length", "8"]) == 0
    assert "| float16 " in capsys.readouterr().out
    assert main(command) == 2
    assert "--data has to say which chains to score" in capsys.readouterr().err


def test_a_package_that_is_not_the_model_ends_with_1(
    wide_model: LatentVectorModel,
    store: ChainStore,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lvm_fast.export.mil import recurrent

    monkeypatch.setattr(compare_module, "VARIANTS", {"float16": ("float16", None)})
    monkeypatch.setattr(recurrent, "_gru_cell", lambda gates, recurrent, state: state)
    wide_model.save_pretrained(tmp_path / "saved")
    ChainStore.write(tmp_path / "noise.safetensors", store.vectors, store.offsets)
    command = ["export", str(tmp_path / "saved"), "--compare", "--contexts", "3", "--no-streaming", "--split", "all"]
    assert main([*command, "--data", str(tmp_path / "noise.safetensors"), "--context-length", "8"]) == 1
    assert "NOT the model: float16 failed verification" in capsys.readouterr().out


def test_a_store_of_another_width_is_refused_before_anything_is_exported(
    model: LatentVectorModel, store: ChainStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvm_fast.export.coreml.write_program", lambda *arguments: pytest.fail("exported"))
    for given in (store, lf.Windows(store, 8)):
        with pytest.raises(ValueError, match="the store has 64 dimensions; expected 16, as the model reads"):
            compare_precisions(model, given, context_length=8, **SIZES)


def test_output_and_compare_exclude_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["export", str(tmp_path), "--compare", "--output", "m.mlpackage"])
    assert caught.value.code == 2
    assert "not allowed with argument" in capsys.readouterr().err

"""Who serves which queries, and how well: for a model that says so, whatever it is."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from lvm_fast.cli import main
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.windows import Windows, query_windows
from lvm_fast.evaluation.evaluate import evaluate
from lvm_fast.evaluation.experts import Mixture, route_windows
from lvm_fast.evaluation.report_markdown import experts_summary
from lvm_fast.models.recurrence import last_valid
from lvm_fast.models.registry import create_model

QUICK = {"context_length": 10, "bootstrap": 100}


class ByLength(torch.nn.Module):
    """Copies, by parts: "short" alone up to four vectors, "long" and "short" beyond, and "idle" never."""

    route_names = ("short", "long", "idle")

    def forward(self, context, lengths):
        assert not self.training
        return torch.zeros_like(last_valid(context, lengths))

    def routes(self, context, lengths=None):
        assert not torch.is_grad_enabled()
        assert not self.training
        is_long = (lengths > 4).float()[:, None]
        return torch.cat((1 - 0.75 * is_long, 0.75 * is_long, 0 * is_long), dim=1)


@pytest.fixture
def windows(store):
    return query_windows(store, 10, None, 4)


@pytest.fixture
def report(store):
    return evaluate(ByLength(), store, min_length=4, **QUICK)


def test_every_part_gets_its_share_and_the_hits_of_its_own_queries(report, windows):
    short, long, idle = report.experts
    is_long = windows.lengths > 4
    assert 0 < is_long.sum() < len(windows)
    assert [part.name for part in report.experts] == ["short", "long", "idle"]
    assert [part.first for part in report.experts] == pytest.approx([1 - is_long.mean(), is_long.mean(), 0])
    assert [part.at_all for part in report.experts] == pytest.approx([1, is_long.mean(), 0])
    assert [part.queries for part in report.experts] == [len(windows), is_long.sum(), 0]
    assert short.hits["model"] == pytest.approx(report.hits)  # it serves all queries
    for metric, interval in short.intervals["model"].items():
        assert interval == pytest.approx(report.intervals["model"][metric])
    assert long.hits["model"] == long.hits["copy_last"]  # which the model is
    assert set(long.hits["model - copy_last"].values()) == {0.0}
    assert (idle.hits, idle.intervals) == ({}, {})


def test_hits_are_those_of_the_served_queries_in_the_whole_pool(store, momentum, windows):
    class Half(torch.nn.Module):
        route_names = ("none", "early")

        def forward(self, context, lengths):
            return momentum(context, lengths)

        def routes(self, context, lengths=None):
            early = (context[:, 0, 0] > 0).float()[:, None]
            return torch.cat((1 - early, early), dim=1)

    report = evaluate(Half(), windows, pool=150, **QUICK)
    starts = store.vectors[windows.starts][:, 0] > 0
    alone = evaluate(momentum, windows, pool=150, **QUICK)
    total = {metric: sum(part.queries * part.hits["model"][metric] for part in report.experts) for metric in alone.hits}
    assert sum(part.queries for part in report.experts) == report.queries == len(windows)
    assert report.experts[1].queries == starts.sum()
    for metric, hits in alone.hits.items():
        assert total[metric] / len(windows) == pytest.approx(hits)
        assert report.experts[0].hits["model"][metric] != report.experts[1].hits["model"][metric]


def test_a_mixture_s_shares_sum_to_one_and_its_choices_to_two(store):
    torch.manual_seed(0)
    sizes = {"input_dim": 12, "hidden_dim": 8, "num_layers": 1, "num_experts": 6, "expert_dim": 4}
    model = create_model("specialist_gru", **sizes, domains=["law", "art", "sea", "war", "tax", "sky"])
    assert isinstance(model, Mixture)
    model.train()
    report = evaluate(model, store, **QUICK)
    assert model.training
    assert sum(part.first for part in report.experts) == pytest.approx(1)
    assert sum(part.at_all for part in report.experts) == pytest.approx(2)
    assert sum(part.queries for part in report.experts) == 2 * report.queries
    assert [part.name for part in report.experts] == ["law", "art", "sea", "war", "tax", "sky"]
    windows = Windows(store, 10)
    shares = route_windows(model, windows, 7, None, False)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    for window in (0, 5, len(windows) - 1):
        context = torch.from_numpy(windows.batch([window]).context)
        np.testing.assert_allclose(shares[window], model.eval().routes(context).detach()[0], atol=1e-5)
    for pool in (5, "store"):
        report = evaluate(model, store, pool=pool, curve=False, **QUICK)
        assert sum(part.first for part in report.experts) == pytest.approx(1)


def test_a_model_in_one_piece_has_no_experts(store, momentum):
    report = evaluate(momentum, store, **QUICK)
    assert report.experts == []
    assert "The experts" not in report.to_markdown()


def test_the_table_names_its_pool_and_leaves_the_idle_blank(report):
    text = report.to_markdown()
    section = text.split("## The experts")[1].split("\nDirection margin")[0]
    assert f"in the same pool of {report.pool}" in section
    head, _, short, _, idle = [line for line in section.splitlines() if line.startswith("|")]
    names = ["", "first", "at all", "queries", "Hit@1", "Hit@5", "Hit@10", "copy-last Hit@5", "model minus it"]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == names
    assert re.match(
        rf"\| short +\| +\d+\.\d \| +100\.0 \| +{report.queries} \| +\d+\.\d \[\d+\.\d, \d+\.\d\] \|", short
    )
    assert short.rstrip(" |").endswith("+0.0 [+0.0, +0.0]")
    assert re.fullmatch(r"\| idle +\| +0\.0 \| +0\.0 \| +0 \|( +\|){5}", idle)


def test_a_terminal_gets_a_short_table(report):
    lines = experts_summary(report).splitlines()
    assert all(len(line) <= 100 for line in lines)
    assert f"pool of {report.pool}" in " ".join(lines)
    head, _, short, _, idle = [line for line in lines if line.startswith("|")]
    names = ["", "first", "at all", "queries", "Hit@5", "copy-last Hit@5", "model minus it"]
    assert [cell.strip() for cell in head.split("|")[1:-1]] == names
    hits = 100 * report.hits["hit@5"]
    said = rf"\| short \| +\d+\.\d \| +100\.0 \| +{report.queries} \| +{hits:.1f} \| +{hits:.1f} \| \+0\.0 (\S+ \S+) \|"
    assert re.fullmatch(said, short)[1] == "[+0.0, +0.0]"
    assert re.fullmatch(r"\| idle +\| +0\.0 \| +0\.0 \| +0 \|( +\|){3}", idle)


def test_the_command_prints_the_table_of_a_mixture_only(store, tmp_path, capsys):
    store.save(tmp_path / "chains.safetensors")
    sizes = {"input_dim": 12, "hidden_dim": 8, "num_layers": 1}
    create_model("specialist_gru", **sizes, num_experts=3, expert_dim=4).save_pretrained(tmp_path / "mixture")
    create_model("gru", **sizes).save_pretrained(tmp_path / "gru")
    for name, printed in {"mixture": True, "gru": False}.items():
        words = ["--data", tmp_path / "chains.safetensors", "--split", "all", "--context-length", "10"]
        assert main(["evaluate", str(tmp_path / name), *map(str, words), "--bootstrap", "5"]) == 0
        assert ("| expert 2 |" in capsys.readouterr().out) == printed


def test_json_keeps_the_experts(report, tmp_path):
    report.save(tmp_path)
    read = json.loads((tmp_path / "report.json").read_text())["experts"]
    assert [part["name"] for part in read] == ["short", "long", "idle"]
    assert read[1]["hits"]["model"] == report.experts[1].hits["model"]
    assert tuple(read[1]["intervals"]["model"]["hit@5"]) == report.experts[1].intervals["model"]["hit@5"]


def test_an_expert_of_one_chain_has_no_interval(one_chain):
    report = evaluate(ByLength(), one_chain, min_length=4, **QUICK)
    assert set(report.experts[0].intervals["model"].values()) == {None}
    assert "[" not in report.to_markdown().split("## The experts")[1].split("\nDirection")[0]


def test_pieces_of_a_cut_chain_are_one_for_an_expert_too(store):
    pieces = ChainStore(store.vectors, store.offsets, origins=["a"] * len(store))
    report = evaluate(ByLength(), pieces, min_length=4, **QUICK)
    assert set(report.experts[0].intervals["model"].values()) == {None}

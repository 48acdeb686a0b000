"""Answers in several threads while another trains: right, and without a trace on the model."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from literal_models import SMALL

import lvm_fast as lf
from lvm_fast.models.registry import create_model

ROUNDS = 20


def contexts(batch: int, steps: int = 9) -> torch.Tensor:
    return torch.randn(batch, steps, 16, generator=torch.Generator().manual_seed(batch))


@pytest.fixture
def store() -> lf.ChainStore:
    rows = np.random.default_rng(0).standard_normal((60, 16)).astype(np.float32)
    return lf.ChainStore(rows, [0, 20, 40, 60])


def together(*calls: Callable[[], None]) -> None:
    """Run every call many times, each in a thread of its own; raises what one of them raises."""

    def repeat(call: Callable[[], None]) -> None:
        for _ in range(ROUNDS):
            call()

    with ThreadPoolExecutor(len(calls)) as pool:
        for done in [pool.submit(repeat, call) for call in calls]:
            done.result(timeout=300)


def trained(model: lf.models.base.LatentVectorModel) -> Callable[[], None]:
    """A training step without an update, so that what the answers should be stays the same."""

    def step() -> None:
        model.train()
        with model.deferred_memory_writes():
            model(contexts(4)).sum().backward()
        assert all(module.training for module in model.modules())

    return step


def expect_predictions(model, quiet, context: torch.Tensor, **how: str) -> Callable[[], None]:
    expected = quiet.predict(context, **how)

    def ask() -> None:
        torch.testing.assert_close(model.predict(context, **how), expected, rtol=0, atol=0)

    return ask


@pytest.mark.parametrize("name", SMALL)
def test_answers_of_a_model_in_training_are_those_of_evaluation_mode(name, store):
    torch.manual_seed(0)
    model = create_model(name, **SMALL[name]).train()
    quiet, before = copy.deepcopy(model).eval(), copy.deepcopy(model.state_dict())
    report = lf.evaluate(quiet, store, context_length=8, bootstrap=5, curve=False)
    streamed = quiet.stream().push(contexts(1)[:, 0])

    def evaluate() -> None:
        again = lf.evaluate(model, store, context_length=8, bootstrap=5, curve=False)
        assert (again.hits, again.mean_cosine) == (report.hits, report.mean_cosine)

    def stream() -> None:
        torch.testing.assert_close(model.stream().push(contexts(1)[:, 0]), streamed, rtol=0, atol=0)

    together(
        expect_predictions(model, quiet, contexts(2)),
        expect_predictions(model, quiet, contexts(6)),
        evaluate,
        stream,
        trained(model),
    )
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_answers_of_a_router_in_training_too(store):
    torch.manual_seed(0)
    arms = {5: create_model("memory_gru", **SMALL["memory_gru"]), 12: create_model("lstm", **SMALL["lstm"])}
    router = lf.Router(arms)
    quiet = copy.deepcopy(router)
    report = lf.evaluate_router(quiet, store, stride=4, timed=1, bootstrap=5, curve=False)
    router.train()

    def evaluate() -> None:
        again = lf.evaluate_router(router, store, stride=4, timed=1, bootstrap=5, curve=False)
        assert (again.hits, again.scores) == (report.hits, report.scores)

    together(
        expect_predictions(router, quiet, contexts(3, 20)),
        expect_predictions(router, quiet, contexts(6, 4)),
        evaluate,
        *map(trained, arms.values()),
    )
    assert all(module.training for module in router.modules())

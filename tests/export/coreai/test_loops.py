"""Recurrences as loops: as large for a thousand vectors as for a few, and right in Apple's runtime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from coreai_models import model_of

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai.apple import CONSTANT, functions_in, operations_in
from lvm_fast.export.coreai.convert import convert
from lvm_fast.export.coreai.functions import ConstantModule, Function, predict_function
from lvm_fast.export.coreai.recurrent import GRULayers, LSTMLayers
from lvm_fast.export.coreai.registry import Programs
from lvm_fast.export.coreai.runtime import RunningAsset


@pytest.mark.parametrize(
    ("name", "lengths", "loops"),
    [
        ("memory_gru", (10, 100, 1000), 1),
        ("gru", (10, 100, 1000), 1),
        ("lstm", (10, 100, 1000), 1),
        ("hierarchical_gru", (20, 100, 1000), 2),
    ],
)
def test_a_program_is_as_large_for_a_thousand_vectors(name: str, lengths: tuple[int, ...], loops: int) -> None:
    programs = Programs(model_of(name), "float32")
    program = convert({f"predict_{n}": predict_function(programs.of(n), n) for n in lengths})
    counts = [
        [each.name for each in operations_in(graph) if each.name != CONSTANT]  # equal constants are one
        for graph in functions_in(program).values()
    ]
    assert len(counts) == 3
    assert len({len(each) for each in counts}) == 1
    assert all(each.count("coreai.while") == loops for each in counts)


@pytest.mark.parametrize("kind", ["gru", "lstm"])
@pytest.mark.parametrize(("width", "layers", "batch"), [(8, 1, 1), (12, 2, 1), (32, 3, 2)])
def test_a_loop_reads_the_states_that_the_step_before_left(
    kind: str, width: int, layers: int, batch: int, tmp_path: Path
) -> None:
    torch.manual_seed(width)
    cells = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[kind](24, width, layers, batch_first=True)
    net = {"gru": GRULayers, "lstm": LSTMLayers}[kind]("net", width, layers)
    stored = {f"net.{name}": tensor.detach().numpy() for name, tensor in cells.named_parameters()}
    context = torch.randn(batch, 7, 24)
    module = ConstantModule(lambda own, rows: (net.last_state(own, rows),), stored, torch.float32)
    convert({"run": Function(module, {"rows": context}, ("state",))}).save_asset(tmp_path / "loop.aimodel")
    with torch.no_grad(), RunningAsset(tmp_path / "loop.aimodel") as running:
        wanted = cells(context)[0][:, -1].numpy()
        for _ in range(2):  # a second call begins anew
            found = running.run("run", {"rows": context.numpy()})["state"]
            np.testing.assert_allclose(found, wanted, atol=1e-6)

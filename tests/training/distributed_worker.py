"""What each process of `test_distributed.py` runs under torchrun: steps and scores, shared out; and errors."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.positions import AllPositions
from lvm_fast.data.windows import Windows
from lvm_fast.models.base import LatentVectorModel
from lvm_fast.models.registry import create_model
from lvm_fast.training.distributed import DistributedContext, distributed_context
from lvm_fast.training.learner import Learner
from lvm_fast.training.recipe import Recipe
from lvm_fast.training.validation import Validation

GROUPS = {"even": np.arange(64), "uneven": np.arange(5, 58), "one micro-batch": np.arange(7)}
SETTINGS: dict[str, dict[str, Any]] = {
    "reference": {},
    "effective": {"infonce_batch": "effective"},
    "all positions": {"objective": "all_positions", "infonce_batch": "effective"},
    "bank": {"infonce_batch": "bank"},
    "sample": {"infonce_batch": "effective", "infonce_candidates": 30},
    "experts": {"model_type": "specialist_gru", "balance_weight": 1.0},
    "experts, all positions": {"model_type": "specialist_gru", "balance_weight": 1.0, "objective": "all_positions"},
}
SIZES = {
    "memory_gru": {"memory_slots": 8},
    "specialist_gru": {"num_experts": 4, "expert_dim": 6},
}


def recipe_of(store: ChainStore, **changes: Any) -> Recipe:
    usual: dict[str, Any] = {
        "batch_size": 8,
        "accumulation_steps": 8,
        "alpha_infonce": 1.0,
        "clip_norm": 1e9,
        "device": "cpu",
    }
    return Recipe(data=store, **{**usual, **changes})


def fresh_model(name: str = "memory_gru") -> LatentVectorModel:
    torch.manual_seed(3)
    return create_model(name, input_dim=16, hidden_dim=12, num_layers=2, dropout=0.0, **SIZES[name])


def steps(store: ChainStore, processes: DistributedContext) -> dict[str, Any]:
    """The gradient, the loss, and what the step leaves behind, of one step a setting and group."""
    found: dict[str, Any] = {}
    for setting, changes in SETTINGS.items():
        recipe = recipe_of(store, **changes)
        layout = AllPositions if recipe.objective == "all_positions" else Windows
        windows = layout(store, context_length=8, stride=3)
        for name, group in GROUPS.items():
            domains = np.arange(len(store)) % 4
            learner = Learner(fresh_model(recipe.model_type), recipe, torch.device("cpu"), processes, domains=domains)
            learner.gate.load_state({"load": torch.tensor([0.6, 0.3, 0.1, 0.0])})
            model, move, place = learner.model, learner.optimizer.step, f"{setting}, {name}"

            def spy(place: str = place, model: LatentVectorModel = model, move: Any = move) -> None:
                gradients = {key: p.grad for key, p in model.named_parameters() if p.grad is not None}
                found[f"{place}: names"] = sorted(gradients)
                found[f"{place}: gradient"] = torch.cat([grad.flatten() for grad in gradients.values()]).numpy().copy()
                move()

            learner.optimizer.step = spy  # type: ignore[assignment, method-assign]
            step = learner.step(windows, group, 1e-3)
            found[f"{place}: step"] = np.array(step)
            left = learner.gate.state().get("load")
            found[f"{place}: memory"] = (model.get_buffer("memory.memory") if left is None else left).numpy()
    return found


def scores(store: ChainStore, processes: DistributedContext) -> dict[str, float]:
    windows = Windows(store, context_length=8, stride=2)
    return Validation(windows, "store", 42, 16, processes).score(fresh_model())


def told(processes: DistributedContext) -> dict[str, str]:
    """What each process hears of a call on the first one."""

    def fail(error: Exception) -> None:
        raise error

    heard = {"result": str(processes.on_rank_zero(lambda: f"process {processes.rank}"))}
    for error in (ValueError("no value"), FileExistsError(17, "there already", "run"), OSError("disk full")):
        try:
            processes.on_rank_zero(fail, error)
        except (ValueError, OSError) as raised:
            heard[str(error)] = ("OSError" if isinstance(raised, OSError) else "ValueError") + f": {raised}"
    processes.seed_dropout(1, 2)
    return heard | {"random": str(torch.rand(2).tolist()), "words": str(processes)}


def main(folder: Path) -> None:
    store = ChainStore.open(folder / "store.safetensors")
    with distributed_context("cpu") as processes:
        torch.manual_seed(0)
        facts = {"told": told(processes), "scores": scores(store, processes), "share": list(processes.shard(range(7)))}
        (folder / f"facts-{processes.rank}.json").write_text(json.dumps(facts))
        np.savez(folder / f"steps-{processes.rank}.npz", **steps(store, processes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

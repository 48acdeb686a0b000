"""Runs an asset on probe inputs, and its program in plain torch with the numbers that the asset stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..compression import Stored
from ..probe_inputs import ProbeInputs, ProbeOutputs
from .layers import Layers
from .program import Program

if TYPE_CHECKING:
    from .runtime import RunningAsset


def run_asset(asset: RunningAsset, function: str, questions: ProbeInputs) -> ProbeOutputs:
    """Run a function of an asset: context by context, or vector by vector through its states."""
    state = asset.new_state(function)
    results = []
    for context, length in zip(questions.context, questions.lengths, strict=True):
        if state:
            results.append(asset.run(function, {"vector": context[None, length - 1]}, state))
        else:
            results.append(asset.run(function, {"context": context[None, :length]}))
    return ProbeOutputs(**{name: np.concatenate([result[name] for result in results]) for name in results[0]})


def run_plain(program: Program, constants: Mapping[str, Stored], questions: ProbeInputs) -> ProbeOutputs:
    """Run a program on each context in torch, in float32, with the numbers that constants stand for."""
    arrays = {name: stored if isinstance(stored, np.ndarray) else stored.values() for name, stored in constants.items()}
    layers = Layers({name: torch.from_numpy(array.astype(np.float32)) for name, array in arrays.items()}, torch.float32)
    results = []
    with torch.no_grad():
        for context, length in zip(questions.context, questions.lengths, strict=True):
            results.append(program.predict(layers, torch.from_numpy(context[None, :length])))
    stacked = [torch.cat(parts).numpy() for parts in zip(*results, strict=True)]
    return ProbeOutputs(**dict(zip(program.outputs, stacked, strict=True)))

"""The domains that a gate learns to tell apart: found in the training chains, or supplied by the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ..data.clusters import chain_means, spherical_kmeans
from ..data.domains import DOMAINS, number_domains, read_domains
from ..data.quantize import Int64
from ..data.store import ChainStore
from ..models.base import LatentVectorModel
from ..models.mixture import MixtureOfExperts
from .data import TrainingData
from .distributed import Processes
from .recipe import Recipe

DOMAINS_FILE = "domains.json"
_METADATA_KEY = "domains"


class Domains(NamedTuple):
    """One domain a chain of the training store.

    Attributes:
        numbers: (C,) int64, from 0 to E - 1, each the number of its expert.
        names: What the E domains are called.
        chains: The ids of the chains, (C,).
    """

    numbers: Int64
    names: list[str]
    chains: list[str]

    def words(self) -> str:
        """Say in a line how many chains each has."""
        counts = np.bincount(self.numbers, minlength=len(self.names))
        named = [f"{name} {count}" for name, count in zip(self.names, counts, strict=True) if count]
        return f"domains, by training chains: {', '.join(named)}"

    def to_json(self) -> str:
        """The number of each chain's domain, in a form that `Recipe.domains` can name."""
        return json.dumps(dict(zip(self.chains, self.numbers.tolist(), strict=True)), indent=2) + "\n"


def assign_domains(
    recipe: Recipe, data: TrainingData, model: LatentVectorModel, processes: Processes
) -> Domains | None:
    """Find the domains of the training chains, or read them, and call the model's experts by them.

    Args:
        recipe: `domains` says where they come from, `seed` decides the clusters.
        data: The training windows and the data they are part of.
        model: A mixture, where there are domains.
        processes: Those that train it together; the first finds or reads.

    Returns:
        The domains; None where the recipe names none.

    Raises:
        OSError: A file cannot be read.
        ValueError: There are fewer training chains than clusters, or a file or the store's metadata does not say one
            of the domains for each chain; the message names the chain.
    """
    if not isinstance(model, MixtureOfExperts) or recipe.domains is None:
        return None
    domains = processes.on_first(_domains, recipe, data, model.num_experts)
    model.name_experts(domains.names)
    return domains


def _domains(recipe: Recipe, data: TrainingData, count: int) -> Domains:
    store, source = data.training.store, str(recipe.domains)
    if source == "clusters":
        names = [f"cluster {number}" for number in range(count)]
        return Domains(_clusters(store, count, recipe.seed), names, store.ids)
    where = f"train: domains = {source!r}"
    given = _in_metadata(data.whole, where) if source == "metadata" else read_domains(source)
    names = [*DOMAINS[:count], *(f"domain {number}" for number in range(len(DOMAINS), count))]
    return Domains(number_domains(given, store.ids, count, where), names, store.ids)


def _clusters(store: ChainStore, count: int, seed: int) -> Int64:
    """The cluster of each chain, (C,), by its mean; 0 for chains without rows."""
    filled = store.lengths > 0
    if filled.sum() < count:
        expected = f"at least {count}, one an expert (--model num_experts=N for fewer)"
        raise ValueError(f"train: domains = 'clusters' of {filled.sum()} training chains; expected {expected}")
    numbers = np.zeros(len(store), np.int64)
    numbers[filled] = spherical_kmeans(chain_means(store)[filled], count, seed)
    return numbers


def _in_metadata(store: ChainStore, where: str) -> dict[str, tuple[str, object]]:
    found = store.metadata.get(_METADATA_KEY)
    if not isinstance(found, Mapping):
        kind = "nothing" if found is None else f"a {type(found).__name__}"
        expected = "an object of chain ids and domains"
        raise ValueError(f"{where}: the data's metadata has {kind} under {_METADATA_KEY!r}; expected {expected}")
    return {name: (where, domain) for name, domain in found.items()}

"""Gives each training chain a domain for a gate to learn: found by clustering, or supplied by the user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..data.chain_store import ChainStore
from ..data.clusters import chain_means, spherical_kmeans
from ..data.domains import DOMAINS, number_domains, read_domains
from ..data.number_formats import Int64
from ..data.windows import GivenWindows, Windows
from ..models.mixture import MixtureOfExperts
from .distributed import DistributedContext
from .load_data import TrainingData
from .recipe_sections import DataSection

DOMAINS_FILE = "domains.json"
_METADATA_KEY = "domains"


class Domains(NamedTuple):
    """One domain a chain of the training store.

    Attributes:
        numbers: (C,) int64, from 0 to E - 1, each the number of its expert; -1 for chains that nothing is learned of.
        names: What the E domains are called.
        chains: The ids of the chains, (C,).
    """

    numbers: Int64
    names: list[str]
    chains: list[str]

    def describe(self) -> str:
        """Say in a line how many chains each has."""
        counts = np.bincount(self.numbers[self.numbers >= 0], minlength=len(self.names))
        sizes = [f"{name} {count}" for name, count in zip(self.names, counts, strict=True) if count]
        return f"domains, by training chains: {', '.join(sizes)}"

    def to_json(self) -> str:
        """Return the number of each chain's domain, in a form that `Recipe.domains` can name."""
        known = {chain: number for chain, number in zip(self.chains, self.numbers.tolist(), strict=True) if number >= 0}
        return json.dumps(known, indent=2) + "\n"


def assign_domains(
    recipe: DataSection,
    data: TrainingData,
    model: MixtureOfExperts,
    distributed: DistributedContext,
    own_run: Path | None = None,
) -> Domains:
    """Find the domains of the training chains, or read them, and call the model's experts by them.

    Args:
        recipe: `domains` says where they come from, `seed` decides the clusters.
        data: The training windows and the data they are part of.
        model: Has as many experts as there are to be domains.
        distributed: The processes that train it together; the first finds or reads.
        own_run: The folder of this very run, where it goes on: it has kept its domains.

    Raises:
        OSError: A file cannot be read.
        ValueError: There are fewer training chains than clusters, or a file or the store's metadata does not say one
            of the domains for each chain; the message names the chain.
    """
    domains = distributed.on_rank_zero(_domains, recipe, data, model.num_experts, own_run)
    model.name_experts(domains.names)
    return domains


def _domains(recipe: DataSection, data: TrainingData, count: int, own_run: Path | None) -> Domains:
    store, source = data.training.store, str(recipe.domains)
    names = [*DOMAINS[:count], *(f"domain {number}" for number in range(len(DOMAINS), count))]
    if source == "clusters":
        names = [f"cluster {number}" for number in range(count)]
    if own_run is not None and (own_run / DOMAINS_FILE).exists():
        return Domains(_kept(data.training, own_run / DOMAINS_FILE, count), names, store.ids)
    if source == "clusters":
        return Domains(_clusters(data.training, count, recipe.seed), names, store.ids)
    where = f"train: domains = {source!r}"
    given = _in_metadata(data.whole, where) if source == "metadata" else read_domains(source)
    return Domains(number_domains(given, store.ids, count, where), names, store.ids)


def _clusters(windows: Windows, count: int, seed: int) -> Int64:
    """Cluster the training chains by their means: a number for each, (C,), -1 for the others."""
    known = _training_chains(windows)
    if len(known) < count:
        expected = f"at least {count}, one an expert (--model num_experts=N for fewer)"
        raise ValueError(f"train: domains = 'clusters' of {len(known)} training chains; expected {expected}")
    numbers = np.full(len(windows.store), -1)
    numbers[known] = spherical_kmeans(chain_means(windows.store)[known], count, seed)
    return numbers


def _kept(windows: Windows, path: Path, count: int) -> Int64:
    """Read what an earlier part of the run has written of its training chains, (C,); -1 for the others."""
    known = _training_chains(windows)
    numbers = np.full(len(windows.store), -1)
    numbers[known] = number_domains(read_domains(str(path)), [windows.store.ids[n] for n in known], count, str(path))
    return numbers


def _training_chains(windows: Windows) -> Int64:
    """Return the chains with rows, or of given windows, whose store holds those of validation too, with targets."""
    return np.unique(windows.chains) if isinstance(windows, GivenWindows) else np.flatnonzero(windows.store.lengths)


def _in_metadata(store: ChainStore, where: str) -> dict[str, tuple[str, object]]:
    domains = store.metadata.get(_METADATA_KEY)
    if not isinstance(domains, Mapping):
        kind = "nothing" if domains is None else f"a {type(domains).__name__}"
        expected = "an object of chain ids and domains"
        raise ValueError(f"{where}: the data's metadata has {kind} under {_METADATA_KEY!r}; expected {expected}")
    return {name: (where, domain) for name, domain in domains.items()}

"""The space of a model: the vectors that it reads, predicts, and is searched in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .._util.numbers import plain
from ..ops.rowwise import l2_normalize
from ..retrieval.bank import VectorBank
from ..retrieval.keys_on_disk import map_keys, on_disk
from ..spaces.space import Space
from .answering import answering, place_of
from .hubness import EXTRA, check_hubness, corrected_keys, corrected_query
from .space_map import SpaceMap

VECTORS = "vectors"  # what a model in a space may search, in place of its keys
_BLOCK = 8192  # keys adapted at a time


class InSpace(nn.Module):
    """The part of a model that knows its space: what to search in, and the way back to the encoder's own vectors.

    Attributes:
        space: The map from an encoder's vectors to those that the model reads and predicts; None where they are the
            encoder's own.
    """

    model_type: ClassVar[str]
    config: dict[str, Any]
    input_dim: int
    space: SpaceMap | None

    def set_space(self, space: Space | None) -> None:
        """Let the model read and predict in a space, or in the encoder's own where it is None.

        What it searches stays (`searches_vectors`); a correction for hubness goes (`set_query_bank`).

        Raises:
            ValueError: The space is of another width.
        """
        if space is None:
            self.config.pop("space", None)
            self.space = None
            return
        facts = {"kind": space.kind, "strength": space.strength, "rows": space.rows}
        self._make_room(facts | ({"search": VECTORS} if self.searches_vectors else {}))
        assert self.space is not None
        self.space.fill(space)

    def set_query_bank(self, queries: NDArray[np.float32], strength: float, neighbours: int = 10) -> None:
        """Correct keys for hubness: a candidate that is near to every question scores less (models/hubness.py).

        Args:
            queries: The query bank: predictions for training contexts, in the encoder's own space, (M, D).
            strength: How much it counts, 0 to 1.
            neighbours: How many of the bank's nearest queries a candidate is compared with; M at most.

        Raises:
            ValueError: The model has no space, or an argument does not fit.
        """
        if self.space is None:
            raise ValueError(f"{self.model_type}: set_query_bank: the model has no space; expected one (set_space)")
        rows = l2_normalize(np.asarray(queries, np.float32))
        if rows.ndim != 2 or rows.shape[1] != self.input_dim:
            expected = f"(M, {self.input_dim})"
            raise ValueError(f"{self.model_type}: set_query_bank: queries have shape {rows.shape}; expected {expected}")
        facts = {"queries": len(rows), "neighbours": neighbours, "strength": strength}
        self.config["space"]["hubness"] = check_hubness(facts)
        self.space.query_bank = torch.from_numpy(rows).to(self.space.mean)

    def drop_query_bank(self) -> None:
        """Leave keys as they are."""
        if self.space is not None:
            self.config["space"].pop("hubness", None)
            self.space.query_bank = None

    @property
    def hubness(self) -> dict[str, Any] | None:
        """The correction for hubness: "queries", "neighbours" and "strength"; None without one."""
        facts: dict[str, Any] | None = (self.config.get("space") or {}).get("hubness")
        return facts

    @property
    def query_dim(self) -> int:
        """Width K of what `query` returns and `keys` are."""
        return self.input_dim + (0 if self.hubness is None else EXTRA)

    def _make_room(self, facts: Any) -> None:
        if not isinstance(facts, Mapping):
            raise ValueError(f"{self.model_type}: space = {facts!r}; expected a mapping with a kind, or a Space")
        self.config["space"] = plain(dict(facts))
        self.space = SpaceMap(self.input_dim, facts)
        weight = next(self.parameters(), None)
        if weight is not None:
            self.space.to(weight.device, weight.dtype)

    @property
    def searches_vectors(self) -> bool:
        """Whether a model in a space searches the encoder's own vectors with `predict`, by plain cosine.

        Training chooses so where that finds more (`config["space"]["search"]`): how far a candidate is from the mean
        then counts, too.
        """
        return (self.config.get("space") or {}).get("search") == VECTORS

    @property
    def has_keys(self) -> bool:
        """Whether `query` and `keys` are other than predictions and the encoder's own vectors."""
        return self.space is not None or self.adapts()

    @property
    def searches_plainly(self) -> bool:
        """Whether it searches the encoder's own vectors with its prediction, and nothing more: no bank of its own."""
        return self.hubness is None and (self.searches_vectors or not self.has_keys)

    def keys(self, vectors: Any) -> NDArray[np.float32]:
        """Map vectors to what a `query` searches in: into the model's space, or to unit length without one.

        Args:
            vectors: (T, D) or (D,): an array, a tensor or the `vectors` of a store.

        Returns:
            Unit rows, float32, in the shape of `vectors`; with a correction for hubness two numbers wider.

        Raises:
            ValueError: The vectors have another width.
        """
        if vectors.shape[-1] != self.input_dim:
            got = f"vectors of {vectors.shape[-1]} dimensions"
            raise ValueError(f"{self.model_type}: keys: expected vectors of {self.input_dim} dimensions, got {got}")
        rows: NDArray[np.float32]
        if self.space is None or self.searches_vectors:
            rows = l2_normalize(np.asarray(vectors, np.float32))
        else:
            rows = self.space.as_space(self.config["space"]).keys(vectors)
        if self.adapts() and not self.searches_vectors:
            rows = self._adapted(rows)
        return rows if self.hubness is None else self._corrected(rows, np.asarray(vectors, np.float32))

    def _corrected(self, rows: NDArray[np.float32], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return keys (T, E) or (E,) of vectors (T, D) or (D,) with the correction for hubness."""
        assert self.space is not None
        assert self.space.query_bank is not None
        assert self.hubness is not None
        keys, given = np.atleast_2d(rows, vectors)
        corrected = corrected_keys(keys, given, self.space.query_bank, self.hubness)
        return corrected.reshape(*rows.shape[:-1], -1)

    def as_query(self, prediction: Tensor) -> Tensor:
        """Return predictions (B, D), in the vectors that the model searches, as they meet its `keys`, (B, K)."""
        return prediction if self.hubness is None else corrected_query(prediction)

    def _adapted(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """`adapted` of rows (T, D) or (D,), block by block."""
        model, (device, dtype) = answering(self), place_of(self)
        adapted, flat = np.empty_like(rows), rows.reshape(-1, self.input_dim)
        with torch.no_grad():
            for first in range(0, len(flat), _BLOCK):
                block = torch.from_numpy(flat[first : first + _BLOCK]).to(device, dtype)
                adapted.reshape(flat.shape)[first : first + _BLOCK] = model.adapted(block).float().cpu().numpy()
        return adapted

    def adapted(self, vectors: Tensor) -> Tensor:
        """Map unit vectors in the model's space to what a query is compared with: (..., D) -> unit rows (..., D).

        The vectors themselves, but for models that learn to adapt them.
        """
        return vectors

    @classmethod
    def adapts(cls) -> bool:
        """Return whether the model adapts what its queries are compared with (`adapted`)."""
        return cls.adapted is not InSpace.adapted

    def bank(self, store: Any) -> VectorBank:
        """Make the bank of the `keys` of a store's vectors, in which a `query` finds what may come next.

        Args:
            store: A `ChainStore`, or vectors (T, D).
        """
        vectors = getattr(store, "vectors", store)
        joined = getattr(vectors, "is_joined", False)
        return VectorBank(on_disk(map_keys(self.keys, vectors)) if joined else self.keys(vectors), normalize=True)

    def to_vectors(self, query: Tensor) -> Tensor:
        """Map queries to unit vectors (B, D) in the encoder's own space that find by plain cosine nearly the same."""
        return query if self.space is None else self.space.back(query)

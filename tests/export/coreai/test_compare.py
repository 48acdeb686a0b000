"""Size, error and Hit@5 of every precision, of Core AI assets."""

from __future__ import annotations

import numpy as np
import pytest
from coreai_models import model_of, rows_of

from lvm_fast.data.chain_store import ChainStore
from lvm_fast.export.compare import VARIANTS, compare_precisions

pytest.importorskip("coreai_torch")

from lvm_fast.export.coreai.batched import BatchedAsset
from lvm_fast.export.coreai.registry import Programs


@pytest.mark.parametrize("name", ["memory_gru", "hierarchical_gru", "recency_residual whitened"])
def test_many_contexts_at_once_are_the_model(name: str) -> None:
    model, rows = model_of(name), rows_of(16, 60)
    contexts = np.stack([rows[first : first + 12] for first in range(5)])
    lengths = np.array([12, 3, 12, 1, 7])
    with BatchedAsset(Programs(model, "float32"), model, 12) as batched:
        np.testing.assert_allclose(batched.predict(contexts, lengths), model.predict(contexts, lengths), atol=2e-6)
        np.testing.assert_allclose(batched.query(contexts, lengths), model.query(contexts, lengths), atol=2e-6)


def test_every_precision_has_a_row(tmp_path_factory: pytest.TempPathFactory) -> None:
    model = model_of("recency_mixer")
    path = tmp_path_factory.mktemp("data") / "rows.safetensors"
    ChainStore.write(path, rows_of(16, 120), np.array([0, 60, 120]))
    compared = compare_precisions(
        model, ChainStore.open(path), 9, contexts=(9,), format="coreai", pool="store", bootstrap=20
    )
    assert [row.name for row in compared.rows] == list(VARIANTS)
    assert compared.rows[0].change == 0
    assert compared.rows[0].verified
    assert compared.rows[0].package_bytes > compared.rows[1].package_bytes


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match=r"format .*coreai"):
        compare_precisions(model_of("lstm"), None, format="coreia")  # type: ignore[arg-type]

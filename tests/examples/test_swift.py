"""What the Swift core is held to is what lvm_fast itself makes of the same inputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.data.chunking import chunk_text

SWIFT = Path(__file__).parents[2] / "examples" / "swift"
EXPECTED = SWIFT / "Tests" / "LatentVectorsCoreTests" / "expected.json"


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(EXPECTED.read_text("utf-8"))
    return loaded


def quarters(words: list[str]) -> list[int]:
    """A token for every four letters."""
    return [-(-len(word) // 4) for word in words]


def test_the_chunks_of_the_swift_tests_are_ours(expected: dict[str, Any]) -> None:
    for each in expected["chunks"]:
        assert chunk_text(each["text"], quarters, each["tokens"]) == each["chunks"]
    texts = "".join(each["text"] for each in expected["chunks"])
    assert all(kind in texts for kind in ("\n\n", "。", "“", "\u00a0", "\u001c", "é", "😀"))
    assert any(len(each["chunks"]) > 3 for each in expected["chunks"])


def test_the_neighbours_of_the_swift_tests_are_ours(expected: dict[str, Any]) -> None:
    nearest = expected["nearest"]
    bank = lf.VectorBank(np.array(nearest["vectors"], np.float32), normalize=True)
    scores, ids = bank.topk(np.array([nearest["query"]], np.float32), len(nearest["ids"]))
    assert ids[0].tolist() == nearest["ids"]
    np.testing.assert_allclose(scores[0], nearest["scores"], atol=1e-7)

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.data import sample as sample_module
from lvm_fast.data.sample import sample_path
from lvm_fast.retrieval.chunk_texts import ChunkTexts, Place, RowTexts


def test_the_sample_is_what_its_note_says() -> None:
    store = lf.sample()
    assert (len(store), store.vectors.shape, store.vectors.dtype_name) == (120, (35_402, 768), "int8")
    assert store.metadata["encoder"] == "sentence-transformers/all-mpnet-base-v2"
    assert "public domain" in store.metadata["source"]
    assert (store.lengths.min(), np.median(store.lengths), store.lengths.max()) == (36, 247.5, 1051)
    years = [int(name[:4]) for name in store.ids]
    assert (years[0], years[-1]) == (1790, 2021)
    assert years == sorted(years)
    assert np.diff(years).max() <= 6  # evenly spread
    assert sample_path().stat().st_size <= 32_000_000


def test_the_sample_holds_unit_vectors_in_reading_order() -> None:
    store = lf.sample()
    store.check()
    rows = store.vectors[:2000]
    norms = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(norms, 1, atol=2e-3)  # int8 rounding moves a row by about 0.009, mostly sideways
    adjacent = np.einsum("td,td->t", rows[1:], rows[:-1]).mean()
    shuffled = np.einsum("td,td->t", rows, np.random.default_rng(0).permutation(rows)).mean()
    assert adjacent > shuffled + 0.1


def test_the_sample_comes_with_the_texts_of_its_chunks() -> None:
    path = sample_path().with_name("sotu-sample.chunks.jsonl.gz")
    assert path.stat().st_size <= 1_800_000
    store, texts = lf.sample(), ChunkTexts(path)
    records = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    assert [record["id"] for record in records] == store.ids
    assert [len(record["chunks"]) for record in records] == store.lengths.tolist()
    assert texts.text(store, 0, 0).startswith(
        "Fellow-Citizens of the Senate and House of Representatives: In meeting you"
    )
    last = len(store) - 1
    assert texts.text(store, last, int(store.lengths[last]) - 1) == records[-1]["chunks"][-1]


def test_a_part_of_the_sample_says_what_its_rows_say() -> None:
    store = lf.sample()
    _, held_out = lf.split_chains(store, val_fraction=0.2)
    assert held_out.vectors.path is None  # its rows were gathered, and near-duplicates cut out of them
    assert len(held_out.origins) > len(set(held_out.origins))
    whole, part = RowTexts(store), RowTexts(held_out)
    rows = np.arange(0, len(held_out.vectors), 97)
    moved = held_out.rows_in_file(rows)
    np.testing.assert_array_equal(held_out.vectors[rows], store.vectors[moved])
    for row, at in zip(rows.tolist(), moved.tolist(), strict=True):
        assert part.text(row) == whole.text(at) is not None
        assert (
            part.place(row)
            == whole.place(at)
            == Place(at, store.ids[(chain := int(store.chain_of(at)))], at - int(store.offsets[chain]))
        )


@pytest.fixture
def installed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Says what the installer's record of where lvm_fast came from holds; lvm-fast-sample is not installed."""

    def installed(record: str | None) -> None:
        monkeypatch.setattr(sample_module, "_PACKAGE", "no_such_package")

        class Distribution:
            def read_text(self, name: str) -> str | None:
                assert name == "direct_url.json"
                return record

        monkeypatch.setattr(sample_module, "distribution", lambda name: Distribution())

    return installed


def test_a_clone_has_the_sample(installed_from, tmp_path):
    clone = tmp_path / "a clone"
    path = clone / "examples" / "sample" / "lvm_fast_sample" / "sotu-sample.safetensors"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"")
    for about in ({}, {"editable": True}):
        installed_from(json.dumps({"url": clone.as_uri(), "dir_info": about}))
        assert sample_path() == path
    path.unlink()
    assert sample_path() is None


@pytest.mark.parametrize("record", [None, '{"url": "file:///x/lvm_fast.whl", "archive_info": {}}'])
def test_an_installation_without_the_sample_says_what_to_install(installed_from, record, capsys):
    installed_from(record)
    with pytest.raises(ModuleNotFoundError, match="not installed; `pip install lvm-fast-sample` brings it"):
        lf.sample()
    assert main(["search", "--data", "sample", "--chunk", "3"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("lvm-fast: error: the sample is not installed; `pip install lvm-fast-sample`")
    assert said.count("\n") == 1


def test_an_installed_package_comes_before_the_clone(tmp_path):
    package = tmp_path / "lvm_fast_sample"
    package.mkdir()
    (package / "__init__.py").touch()
    lf.ChainStore.write(package / "sotu-sample.safetensors", np.eye(3, dtype=np.float32), [0, 3], ids=["installed"])
    code = "import lvm_fast as lf; print(lf.sample().ids)"
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['installed']"

"""Mining against a brute-force oracle, resumed runs, bad settings, damaged files and the command line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lvm_fast import cli
from lvm_fast.data.chain_store import ChainStore
from lvm_fast.data.safetensors_file import TensorWriter
from lvm_fast.retrieval import mining as mining_module
from lvm_fast.retrieval.bank import VectorBank
from lvm_fast.retrieval.mined import FORMAT, MinedNegatives
from lvm_fast.retrieval.mining import mine

BAND = {"low": 0.2, "high": 0.9, "limit": 5}


@pytest.fixture
def crowded(rng: np.random.Generator) -> ChainStore:
    """61 rows of 4 numbers, not of unit length, each row there two or three times: ties everywhere."""
    rows = rng.standard_normal((25, 4)).astype(np.float32)[rng.integers(0, 25, 61)]
    return ChainStore(rows, [0, 20, 20, 23, 60, 61], ["a", "empty", "b", "c", "single"])


def cosines(store: ChainStore) -> Any:
    """(T, T) float64; sums exact, so that copies tie."""
    wide = store.vectors[:].astype(np.float64)
    unit = (wide * [[1 / math.sqrt(math.fsum(row * row))] for row in wide]).astype(np.float32).astype(np.float64)
    return np.array([[math.fsum(a * b) for b in unit] for a in unit])


def wanted_ids(store: ChainStore, settings: dict[str, Any]) -> list[list[int]]:
    """What the definition says, row by row."""
    scores, rows = cosines(store), range(len(store.vectors))
    chains = store.chain_of(np.arange(len(rows)))
    within = settings.get("exclude_within", 1)
    found = []
    for i in rows:
        high = settings["high"]
        if "below" in settings and i + 1 in rows and chains[i + 1] == chains[i]:
            high = min(high, settings["below"] * scores[i, i + 1])
        near = [
            j
            for j in rows
            if settings["low"] <= scores[i, j] < high
            and i != j
            and not (chains[i] == chains[j] and (settings.get("exclude_chain") or abs(i - j) <= within))
        ]
        found.append(sorted(near, key=lambda j: (-scores[i, j], j))[: settings["limit"]])
    return found


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"exclude_within": 0},
        {"exclude_within": 4},
        {"exclude_within": 10**12},
        {"exclude_chain": True},
        {"below": 0.7},
    ],
)
def test_agrees_with_the_definition(
    crowded: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, choice: dict[str, Any]
) -> None:
    monkeypatch.setattr(mining_module, "_BLOCK_ROWS", 17)
    crowded.save(tmp_path / "store", dtype)
    settings = {**BAND, **choice}
    mined = mine(tmp_path / "store", tmp_path / "mined", **settings)
    store = ChainStore.open(tmp_path / "store")
    expected = wanted_ids(store, settings)
    assert any(len(ids) == 5 for ids in expected)
    assert any(len(ids) < 5 for ids in expected)
    assert [[i for i in row if i >= 0] for row in mined.ids.tolist()] == expected
    filled = mined.ids >= 0
    exact = np.take_along_axis(cosines(store), np.where(filled, mined.ids, 0), axis=1)
    np.testing.assert_allclose(mined.scores[filled], exact[filled], rtol=1e-6)
    assert (mined.scores[~filled] == -np.inf).all()
    assert mined.settings == {"below": None, "exclude_within": 1, "exclude_chain": False} | settings
    assert mined.store_fingerprint == store.fingerprint()
    assert (mined.ids.dtype, mined.scores.dtype, len(mined)) == (np.int64, np.float32, 61)


def test_a_store_of_fewer_chunks_than_the_limit_is_padded(crowded: ChainStore, tmp_path: Path) -> None:
    mined = mine(crowded, tmp_path / "mined", **{**BAND, "limit": 64})
    expected = wanted_ids(crowded, {**BAND, "limit": 64})
    assert mined.ids.tolist() == [ids + [-1] * (64 - len(ids)) for ids in expected]
    assert (mined.scores[mined.ids < 0] == -np.inf).all()


def stop_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> list[int]:
    """Interrupts the bank after so many blocks; gives the list of their sizes."""
    sizes: list[int] = []
    band = VectorBank.scored_band

    def counted(bank: VectorBank, queries: Any, *arguments: Any, **options: Any) -> Any:
        if len(sizes) == calls:
            raise KeyboardInterrupt
        sizes.append(len(queries))
        return band(bank, queries, *arguments, **options)

    monkeypatch.setattr(VectorBank, "scored_band", counted)
    return sizes


def test_a_run_that_was_cut_off_goes_on_and_ends_in_the_same_bytes(
    crowded: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining_module, "_BLOCK_ROWS", 17)
    mine(crowded, tmp_path / "whole", **BAND)
    with monkeypatch.context() as patched:
        assert stop_after(patched, 2) == []
        with pytest.raises(KeyboardInterrupt):
            mine(crowded, tmp_path / "cut", **BAND)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cut.partial", "whole"]
    sizes = stop_after(monkeypatch, 100)
    mine(crowded, tmp_path / "cut", **BAND)
    assert sizes == [17, 10]
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "whole").read_bytes()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["cut", "whole"]


@pytest.mark.parametrize("damage", [lambda file: file[:-1], lambda file: b"", lambda file: b"not an array"])
def test_a_damaged_block_of_an_earlier_run_is_named_before_the_work(
    crowded: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(mining_module, "_BLOCK_ROWS", 17)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            mine(crowded, tmp_path / "m", **BAND)
    block = min((tmp_path / "m.partial").iterdir())
    block.write_bytes(damage(block.read_bytes()))
    sizes = stop_after(monkeypatch, 100)
    with pytest.raises(ValueError, match=f"mine: .*{block.name}: damaged; expected 17 rows of an earlier run"):
        mine(crowded, tmp_path / "m", **BAND)
    assert sizes == []


def test_settings_may_be_numpy_numbers(crowded: ChainStore, tmp_path: Path) -> None:
    numbers = {"low": 0.25, "high": 0.875, "limit": 3, "exclude_within": 2, "below": 0.5, "exclude_chain": True}
    numpys = {
        **{name: np.float32(numbers[name]) for name in ("low", "high", "below")},
        **{"limit": np.int64(3), "exclude_within": np.int32(2), "exclude_chain": np.bool_(True)},
    }
    mine(crowded, tmp_path / "a", **numpys)
    mine(crowded, tmp_path / "b", **numbers)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    "change", [{"low": 0.3}, {"limit": 6}, {"below": 0.9}, {"exclude_chain": True}, "vectors", "offsets"]
)
def test_nothing_is_taken_over_from_other_settings_or_another_store(
    crowded: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    monkeypatch.setattr(mining_module, "_BLOCK_ROWS", 17)
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        with pytest.raises(KeyboardInterrupt):
            mine(crowded, tmp_path / "m", **BAND)
    rows, offsets = crowded.vectors[:], crowded.offsets.copy()
    settings = BAND | change if isinstance(change, dict) else BAND
    if change == "vectors":
        rows[60] += 1
    elif change == "offsets":
        offsets[1] -= 1
    sizes = stop_after(monkeypatch, 100)
    mine(ChainStore(rows, offsets), tmp_path / "m", **settings)
    assert sum(sizes) == 61


def test_blocks_shrink_where_long_chains_are_excluded(
    crowded: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mining_module, "_MOST_EXCLUDED", 37 * 10)
    sizes = stop_after(monkeypatch, 100)
    mine(crowded, tmp_path / "m", **BAND, exclude_chain=True)
    assert max(sizes) == 10


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"low": 0.9, "high": 0.9}, r"mine: low, high = 0.9, 0.9; expected two cosines, low below high"),
        ({"low": float("nan")}, r"mine: low: expected a finite number, got nan"),
        ({"high": "0.9"}, r"mine: high: expected a finite number, got '0.9'"),
        ({"below": True}, r"mine: below: expected a finite number, got True"),
        ({"limit": True}, r"mine: limit: expected a whole number from 1 to 4096, got True"),
        ({"exclude_chain": 1}, r"mine: exclude_chain: expected True or False, got 1"),
        ({"limit": 0}, r"mine: limit: expected a whole number from 1 to 4096, got 0"),
        ({"limit": 2.5}, r"mine: limit: expected a whole number from 1 to 4096, got 2.5"),
        ({"below": 0.0}, r"mine: below = 0.0; expected a share above 0"),
        ({"exclude_within": -1}, r"mine: exclude_within: expected a whole number of at least 0, got -1"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    store: ChainStore, tmp_path: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mine(store, tmp_path / "m", **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["s", "link", "hard", "folder/../s"])
@pytest.mark.parametrize("opened", [False, True])
def test_the_data_are_never_written_over(store: ChainStore, tmp_path: Path, name: str, opened: bool) -> None:
    store.save(tmp_path / "s")
    before = (tmp_path / "s").read_bytes()
    (tmp_path / "link").symlink_to("s")
    (tmp_path / "hard").hardlink_to(tmp_path / "s")
    (tmp_path / "folder").mkdir()
    data = ChainStore.open(tmp_path / "s") if opened else tmp_path / "s"
    with pytest.raises(ValueError, match=r"mine: output = .* is an input too.*; expected another file"):
        mine(data, tmp_path / name, overwrite=True)
    assert (tmp_path / "s").read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["folder", "hard", "link", "s"]


def test_the_output_is_no_folder(store: ChainStore, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError, match="expected a file to write, found a folder"):
        mine(store, tmp_path / "folder", overwrite=True)
    with pytest.raises(FileNotFoundError, match="missing"):
        mine(store, tmp_path / "missing" / "m")


def test_a_file_is_replaced_only_when_asked(store: ChainStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(store, tmp_path / "m", low=0.1, high=0.9)
    before = (tmp_path / "m").read_bytes()
    with monkeypatch.context() as patched:
        sizes = stop_after(patched, 100)
        with pytest.raises(FileExistsError, match=r"mine: output = '.*m' exists already; pass overwrite=True"):
            mine(store, tmp_path / "m", low=0.2, high=0.9)
        assert sizes == []
    assert (tmp_path / "m").read_bytes() == before
    assert mine(store, tmp_path / "m", low=0.2, high=0.9, overwrite=True).settings["low"] == 0.2
    assert sorted(item.name for item in tmp_path.iterdir()) == ["m"]


def test_a_file_belongs_to_its_store(store: ChainStore, tmp_path: Path) -> None:
    mine(store, tmp_path / "m", low=0.1, high=0.9)
    assert MinedNegatives.open(tmp_path / "m", store).settings["limit"] == 16
    assert repr(MinedNegatives.open(tmp_path / "m")) == "MinedNegatives(52 chunks, up to 16 each)"
    with pytest.raises(ValueError, match=r"mined from another store"):
        MinedNegatives.open(tmp_path / "m", ChainStore(-store.vectors[:], store.offsets))
    with pytest.raises(ValueError, match=r"mined from 52 rows; expected 51, as the store has"):
        MinedNegatives.open(tmp_path / "m", ChainStore(store.vectors[:51], [0, 51]))
    store.save(tmp_path / "s")
    with pytest.raises(ValueError, match=r"expected negatives that `lvm-fast mine` wrote"):
        MinedNegatives.open(tmp_path / "s")
    (tmp_path / "m").write_bytes((tmp_path / "m").read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"MinedNegatives.open: .*truncated or damaged"):
        MinedNegatives.open(tmp_path / "m")


GOOD_IDS = np.array([[1, 2], [2, -1], [-1, -1]])
GOOD_SCORES = np.array([[0.9, 0.8], [0.8, -np.inf], [-np.inf, -np.inf]], np.float32)


@pytest.fixture
def write_mined(tmp_path: Path) -> Callable[..., Path]:
    """write_mined(row=..., column=..., id=..., score=...): a good file with one changed place."""

    def write(row: int = 0, column: int = 0, id: int = 1, score: float = 0.9, **metadata: str) -> Path:
        ids, scores = GOOD_IDS.copy(), GOOD_SCORES.copy()
        ids[row, column], scores[row, column] = id, score
        strings = FORMAT | {"settings": json.dumps(BAND), "store": ""} | metadata
        with TensorWriter(tmp_path / "m", {"ids": ("I64", (3, 2)), "scores": ("F32", (3, 2))}, strings) as file:
            file.put("ids", 0, ids)
            file.put("scores", 0, scores)
        return tmp_path / "m"

    return write


@pytest.mark.parametrize(
    ("row", "column", "id", "score"),
    [
        (0, 0, 0, 0.9),  # itself
        (0, 0, 3, 0.9),  # no row of the store
        (0, 0, -2, 0.9),
        (0, 0, 1, 0.7),  # not best first
        (0, 0, 1, math.nan),
        (0, 0, -1, -math.inf),  # padding before an id
        (1, 1, 0, -math.inf),  # an id without a score
        (1, 1, -1, 0.5),  # a score without an id
    ],
)
def test_rows_that_cannot_be_are_named(
    write_mined: Callable[..., Path], row: int, column: int, id: int, score: float
) -> None:
    np.testing.assert_array_equal(MinedNegatives.open(write_mined()).ids, GOOD_IDS)
    with pytest.raises(ValueError, match=rf"row {row}: ids .* expected other rows below 3, best first"):
        MinedNegatives.open(write_mined(row, column, id, score))


def test_metadata_that_cannot_be_are_refused(write_mined: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="expected the settings as a JSON object"):
        MinedNegatives.open(write_mined(settings="[]"))
    with pytest.raises(ValueError, match="expected negatives that `lvm-fast mine` wrote"):
        MinedNegatives.open(write_mined(version="2"))


def test_the_command_writes_the_same_file(crowded: ChainStore, tmp_path: Path, capsys: Any) -> None:
    crowded.save(tmp_path / "s")
    words = ["--low", "0.2", "--high", "0.9", "--limit", "5", "--below", "0.9", "--exclude-chain"]
    command = ["mine", "--data", str(tmp_path / "s"), "--output", str(tmp_path / "m"), *words]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    mined = mine(crowded, tmp_path / "again", **BAND, below=0.9, exclude_chain=True)
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()
    assert f"chunks=61 negatives={np.count_nonzero(mined.ids >= 0)} limit=5" in shown.out
    assert shown.err == ""  # no progress bar where nobody watches
    assert cli.main(command) == 2
    assert "m' exists already; pass overwrite=True (--overwrite) to replace it\n" in capsys.readouterr().err
    assert cli.main([*command, "--overwrite", "--limit", "4"]) == 0
    assert MinedNegatives.open(tmp_path / "m").ids.shape == (61, 4)
    capsys.readouterr()
    assert cli.main([*command, "--limit", "0"]) == 2
    assert capsys.readouterr().err == "lvm-fast: error: mine: limit: expected a whole number from 1 to 4096, got 0\n"


def test_the_sample_can_be_mined_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = ChainStore(np.eye(3, dtype=np.float32), [0, 3])
    monkeypatch.setattr("lvm_fast.data.source.sample", lambda: small)
    for name in ("m", "n"):
        assert (mine("sample", tmp_path / name).ids == -1).all()

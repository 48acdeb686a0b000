"""Core ML and Core AI export refuse the same arguments in the same words, before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from coreai_models import model_of, rows_of

import lvm_fast as lf
from lvm_fast.export.exportable import Exportable

pytest.importorskip("coremltools")

FORMATS: dict[str, tuple[Callable[..., Path], str]] = {
    "coreml": (lf.export_coreml, "m.mlpackage"),
    "coreai": (lf.export_coreai, "m.aimodel"),
}


def with_nan() -> Exportable:
    model = model_of("lstm")
    with torch.no_grad():
        model.get_parameter("output_proj.bias")[2] = torch.nan
    return model


def beyond_float16() -> Exportable:
    model = model_of("lstm")
    with torch.no_grad():
        model.get_parameter("output_proj.bias")[2] = 70_000.0
    return model


def hooked() -> Exportable:
    model = model_of("lstm")
    model.register_forward_hook(lambda *_: None)
    return model


def renamed() -> Exportable:
    model = model_of("lstm")
    model.model_type = "abacus"  # type: ignore[misc]
    return model


def routed() -> Exportable:
    return lf.Router({4: model_of("lstm"), 9: model_of("gru")})


def lstm() -> Exportable:
    return model_of("lstm")


BANK = rows_of(16, 20)
ZERO, NAN = BANK.copy(), BANK.copy()
ZERO[3], NAN[5, 1] = 0, np.nan

BAD: dict[str, tuple[Callable[[], Exportable], dict[str, Any]]] = {
    "a context of zero": (lstm, {"contexts": (3, 0)}),
    "a context twice": (lstm, {"contexts": (3, 3)}),
    "half a vector": (lstm, {"contexts": (2.5,)}),
    "a context that is true": (lstm, {"contexts": (True,)}),
    "a huge context": (lstm, {"contexts": (10**9,)}),
    "a single number": (lstm, {"contexts": 3}),
    "text": (lstm, {"contexts": "35"}),
    "streaming that is a number": (lstm, {"streaming": 1}),
    "no function": (lstm, {"contexts": (), "streaming": False}),
    "a precision": (lstm, {"precision": "float64"}),
    "a compression": (lstm, {"compress": "int4"}),
    "flexible zero": (lstm, {"flexible": 0}),
    "a bank of another width": (lstm, {"bank": rows_of(5, 20)}),
    "a bank with a zero row": (lstm, {"bank": ZERO}),
    "a bank with NaN": (lstm, {"bank": NAN}),
    "a bank of no matrix": (lstm, {"bank": BANK[0]}),
    "a bank's dtype": (lstm, {"bank": BANK, "bank_dtype": "int4"}),
    "topk of zero": (lstm, {"bank": BANK, "topk": 0}),
    "topk of more than there are": (lstm, {"bank": BANK, "topk": 21}),
    "NaN in a weight": (with_nan, {}),
    "a weight beyond float16": (beyond_float16, {}),
    "a hook": (hooked, {}),
    "an unknown type": (renamed, {}),
    "a stream of amn": (lambda: model_of("amn"), {}),
    "more than the positions": (lambda: model_of("transformer"), {"contexts": (3, 41)}),
    "flexible beyond the positions": (lambda: model_of("transformer"), {"contexts": (3,), "flexible": 41}),
    "chunks too long to count": (lambda: model_of("hierarchical_gru", chunk_size=2049), {}),
    "a router's stream": (routed, {}),
    "a router's flexible length": (routed, {"streaming": False, "flexible": 9}),
    "more than a router's limit": (routed, {"streaming": False, "contexts": (3, 10)}),
}
NEEDS_CONVERTERS = {"a weight beyond float16"}  # found where the programs are built
COUNTED_IN_FLOAT16 = "chunks too long to count"  # by Core ML alone


def refusal(format: str, folder: Path, make: Callable[[], Exportable], options: dict[str, Any]) -> str:
    """The type and the words of an error, with a format's own words replaced."""
    export, name = FORMATS[format]
    before = sorted(folder.iterdir())
    with pytest.raises((ValueError, OSError)) as caught:
        export(make(), folder / name, **{"contexts": (3,), **options})
    assert sorted(folder.iterdir()) == before
    said = f"{type(caught.value).__name__}: {caught.value}"
    return said.replace(export.__name__, "export").replace(".mlpackage", ".suffix").replace(".aimodel", ".suffix")


@pytest.mark.parametrize("case", [case for case in BAD if case != COUNTED_IN_FLOAT16])
def test_both_refuse_it_in_the_same_words(case: str, tmp_path: Path) -> None:
    if case in NEEDS_CONVERTERS:
        pytest.importorskip("coreai_torch")
    make, options = BAD[case]
    assert refusal("coreai", tmp_path, make, options) == refusal("coreml", tmp_path, make, options)


def test_chunks_of_any_length_stream_where_counts_are_float32(tmp_path: Path) -> None:
    make, options = BAD[COUNTED_IN_FLOAT16]
    assert "chunk_size = 2049" in refusal("coreml", tmp_path, make, options)
    pytest.importorskip("coreai_torch")
    model = make()
    asset = lf.export_coreai(model, tmp_path / "m.aimodel", contexts=(), precision="float32")
    assert lf.verify_coreai(asset, model).passed


def put_file(path: Path) -> None:
    path.write_text("mine")


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "mine.txt").write_text("mine")


def put_beside(path: Path) -> None:
    from lvm_fast.export.options import expectations_path

    expectations_path(path).write_text("mine")


@pytest.mark.parametrize("put", [put_file, put_folder, put_beside])
def test_both_keep_what_stands_there(put: Callable[[Path], None], tmp_path: Path) -> None:
    said = []
    for format, (_, name) in FORMATS.items():
        folder = tmp_path / format
        folder.mkdir()
        put(folder / name)
        before = {str(item): item.is_file() and item.read_bytes() for item in folder.rglob("*")}
        said.append(refusal(format, folder, lstm, {}).replace(f"/{format}/", "/").replace("m.suffix.exp", "m.exp"))
        assert {str(item): item.is_file() and item.read_bytes() for item in folder.rglob("*")} == before
    assert said[0] == said[1]
    assert said[0].startswith("FileExistsError: ")


@pytest.mark.parametrize("place", ["nowhere/{}", "file/{}", "m.other"])
def test_both_name_a_place_where_nothing_can_be_written(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = []
    for export, name in FORMATS.values():
        with pytest.raises((ValueError, OSError)) as caught:
            export(lstm(), tmp_path / place.format(name), contexts=(3,))
        words = f"{type(caught.value).__name__}: {caught.value}".replace(export.__name__, "export")
        said.append(words.replace(".mlpackage", ".suffix").replace(".aimodel", ".suffix"))
    assert said[0] == said[1]


def test_neither_writes_over_what_it_is_made_of(tmp_path: Path) -> None:
    for export, name in FORMATS.values():
        store = tmp_path / name / "rows.safetensors"
        store.parent.mkdir()
        lf.ChainStore.write(store, BANK, np.array([0, 20]))
        with pytest.raises(ValueError, match=r"path = .* holds .*rows\.safetensors', an input"):
            export(lstm(), store.parent, contexts=(3,), bank=lf.ChainStore.open(store), overwrite=True)
        assert store.exists()

"""Saved banks: the same answers, mapped; what is wrong with a file is said."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.data.safetensors_file import TensorWriter, read_tensors


def answers(bank: lf.VectorBank, queries: np.ndarray) -> list[bytes]:
    scores, ids = bank.topk(queries, 5)
    return [scores.tobytes(), ids.tobytes(), bank.rank(queries, np.arange(len(queries))).tobytes()]


def stored_as(kind: str, vectors: np.ndarray) -> object:
    if kind == "int8":
        return lf.ChainStore(np.clip(vectors * 40, -127, 127).astype(np.int8), [0, len(vectors)], scales=SCALES).vectors
    if kind == "bfloat16":
        return torch.from_numpy(vectors).bfloat16()
    return vectors.astype(kind)


SCALES = np.linspace(0.01, 0.02, 150, dtype=np.float32)


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "int8"])
def test_a_saved_bank_answers_as_before(tmp_path, rng, kind, normalize):
    vectors = rng.standard_normal((150, 70)).astype(np.float32)
    bank = lf.VectorBank(stored_as(kind, vectors), normalize=normalize)
    bank.save(tmp_path / "bank.safetensors")
    opened = lf.VectorBank.open(tmp_path / "bank.safetensors")
    assert (len(opened), opened.dim, opened.normalize) == (150, 70, normalize)
    assert answers(opened, vectors[:40]) == answers(bank, vectors[:40])
    opened.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "bank.safetensors").read_bytes()


def test_strided_rows_and_bfloat16_arrays_are_saved_as_they_are_scored(tmp_path, rng):
    vectors = rng.standard_normal((60, 40)).astype(np.float32)
    bank = lf.VectorBank(vectors[::-2, ::2])
    bank.save(tmp_path / "bank.safetensors")
    queries = np.ascontiguousarray(vectors[:30, ::2])
    assert answers(lf.VectorBank.open(tmp_path / "bank.safetensors"), queries) == answers(bank, queries)


def rewritten(path, change):
    """The file with its tensors changed, well-formed otherwise."""
    tensors, metadata = read_tensors(path)
    arrays = {name: (tensor.code, tensor.values.copy()) for name, tensor in tensors.items()}
    change(arrays, metadata)
    damaged = path.with_name("damaged.safetensors")
    with TensorWriter(damaged, {name: (code, a.shape) for name, (code, a) in arrays.items()}, metadata) as writer:
        for name, (_, array) in arrays.items():
            writer.put(name, 0, array)
    return damaged


def flip(name):
    def change(arrays, metadata):
        arrays[name][1][:] = -arrays[name][1]

    return change


def spoil(arrays, metadata):
    arrays["vectors"][1][0] = np.nan


def without(name):
    return lambda arrays, metadata: arrays.pop(name)


def shorter(name):
    def change(arrays, metadata):
        code, values = arrays[name]
        arrays[name] = (code, values[:-1])

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flip("coarse"), "'coarse' does not belong to the vectors"),
        (flip("fine"), "'fine' does not belong to the vectors"),
        (flip("bounds"), "'bounds' does not belong to the vectors"),
        (flip("factors"), "'factors' does not belong to the vectors"),
        (spoil, "the vectors hold a row that no bank takes"),
        (without("vectors"), "expected a tensor 'vectors'"),
        (without("fine"), "expected a tensor 'fine'"),
        (shorter("coarse"), "coarse: wrong shape"),
        (shorter("bounds"), "bounds: wrong shape"),
        (shorter("factors"), "factors: wrong shape"),
        (shorter("vectors"), "wrong shape"),
        (lambda arrays, metadata: metadata.clear(), "expected a bank saved by VectorBank.save"),
    ],
)
def test_a_lying_file_is_refused(tmp_path, rng, change, message):
    path = tmp_path / "bank.safetensors"
    lf.VectorBank(rng.standard_normal((100, 70)).astype(np.float32), normalize=True).save(path)
    with pytest.raises(ValueError, match=f"VectorBank.open: .*damaged.safetensors: .*{message}"):
        lf.VectorBank.open(rewritten(path, change))


def test_a_truncated_file_is_refused(tmp_path, rng):
    path = tmp_path / "bank.safetensors"
    lf.VectorBank(rng.standard_normal((100, 70)).astype(np.float32)).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="truncated"):
        lf.VectorBank.open(path)


def test_bfloat16_of_numpy_is_refused_or_saved(tmp_path, rng):
    vectors = rng.standard_normal((20, 8)).astype(ml_dtypes.bfloat16)
    bank = lf.VectorBank(vectors)
    bank.save(tmp_path / "bank.safetensors")
    queries = rng.standard_normal((20, 8)).astype(np.float32)
    assert answers(lf.VectorBank.open(tmp_path / "bank.safetensors"), queries) == answers(bank, queries)

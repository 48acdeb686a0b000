"""Device choice, with machines that are not there."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import torch

from lvm_fast._util.device import available_devices, choose_device, full_precision_products, multiplies_bfloat16


@pytest.fixture
def machine(monkeypatch):
    """Pretend to be a machine with these devices."""

    def pretend(mps: bool = False, cuda: int = 0) -> None:
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)

    return pretend


@pytest.mark.parametrize(
    ("mps", "cuda", "chosen"), [(False, 0, "cpu"), (True, 0, "mps"), (False, 1, "cuda"), (True, 1, "cuda")]
)
def test_auto_takes_the_best_there_is(machine, mps, cuda, chosen):
    machine(mps, cuda)
    assert choose_device() == torch.device(chosen)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["mps", "cuda", "cuda:0"])
def test_a_device_that_is_not_there_is_named(machine, name):
    machine()
    with pytest.raises(ValueError, match=f"'{name}'.*available: cpu"):
        choose_device(name)


def test_one_of_several_gpus(machine):
    machine(cuda=2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ValueError, match="'cuda:2'; expected cuda:0 to cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "cpu:0", "cuda:x", "auto:1", "CUDA"])
def test_names_that_are_none_are_refused(machine, name):
    machine(mps=True, cuda=1)
    with pytest.raises(ValueError, match="expected one of auto, cpu, cuda, mps"):
        choose_device(name)


def test_what_is_available_is_listed_best_last(machine):
    machine(mps=True, cuda=1)
    assert available_devices() == ["cpu", "mps", "cuda"]


@pytest.mark.parametrize(
    ("processor", "tiles", "half_vectors", "arm", "own"),
    [
        ("x86_64", False, False, True, False),  # torch emulates it there
        ("x86_64", True, False, False, True),
        ("AMD64", False, True, False, True),
        ("aarch64", False, False, True, True),
        ("aarch64", True, True, False, False),
    ],
)
def test_which_cpus_multiply_bfloat16_themselves(monkeypatch, processor, tiles, half_vectors, arm, own):
    monkeypatch.setattr("platform.machine", lambda: processor)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: half_vectors)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: arm, raising=False)
    assert multiplies_bfloat16(torch.device("cpu")) == own
    assert multiplies_bfloat16(torch.device("cuda"))
    assert multiplies_bfloat16(torch.device("mps"))


def test_this_cpu_can_be_asked():
    assert multiplies_bfloat16(torch.device("cpu")) in (True, False)


HALF = ("allow_fp16_reduced_precision_reduction", "allow_fp16_accumulation")


def half_settings():
    return [getattr(torch.backends.cuda.matmul, name) for name in HALF]


@pytest.fixture
def quick_products():
    """Torch's settings at their quickest."""
    before, half_before = torch.get_float32_matmul_precision(), half_settings()
    torch.set_float32_matmul_precision("high")
    for name in HALF:
        setattr(torch.backends.cuda.matmul, name, True)
    yield
    torch.set_float32_matmul_precision(before)
    for name, value in zip(HALF, half_before, strict=True):
        setattr(torch.backends.cuda.matmul, name, value)


def test_full_precision_products_put_torchs_settings_back(quick_products):
    with ExitStack() as first, ExitStack() as second:
        first.enter_context(full_precision_products())
        second.enter_context(full_precision_products())  # of another thread, which leaves later
        assert half_settings() == [False, False]
        assert getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "ieee"
        first.close()
        assert half_settings() == [False, False]
        second.close()
        assert (half_settings(), torch.get_float32_matmul_precision()) == ([True, True], "high")


def test_full_precision_products_put_them_back_after_an_error(quick_products):
    with pytest.raises(KeyError), full_precision_products():
        raise KeyError
    assert (half_settings(), torch.get_float32_matmul_precision()) == ([True, True], "high")

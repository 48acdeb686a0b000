"""What is kept of weights serves until a byte of them changes, however it was changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvm_fast._core import fingerprint
from lvm_fast.inference.kept import content_of, kept
from lvm_fast.ops import runtime

PIECE = 128 << 10  # bytes that a thread takes at a time


def of(*arrays: np.ndarray) -> int:
    return fingerprint([(array.ctypes.data, array.nbytes) for array in arrays])


@pytest.mark.parametrize("size", [1, 3, 4, 63, 64, 257, 1000])
def test_every_byte_and_the_number_of_bytes_counts(simd_level, size, rng):
    data = rng.integers(0, 256, size, np.uint8)
    seen = {of(data), of(data[:-1])}
    for at in range(size):
        for change in (1, 128, 255):
            data[at] ^= change
            seen.add(of(data))
            data[at] ^= change
    assert len(seen) == 2 + 3 * size
    assert of(data) in seen


def test_every_piece_of_much_memory_counts(simd_level, restore_threads, rng):
    data = rng.integers(0, 256, 3 * PIECE + 17, np.uint8)
    whole = of(data)
    for at in (0, PIECE - 1, PIECE, 2 * PIECE + 5, len(data) - 1):
        data[at] ^= 1
        assert of(data) != whole
        data[at] ^= 1
    for threads in (1, 2, 5):
        runtime.set_num_threads(threads)
        assert of(data) == whole


def test_order_counts(simd_level, rng):
    numbers = rng.standard_normal(2 * PIECE // 4).astype(np.float32)
    seen = {of(numbers)}
    for first, second in ((0, 1), (0, 8), (3, 35), (0, 64), (5, PIECE // 4 + 5)):
        swapped = numbers.copy()
        swapped[[first, second]] = swapped[[second, first]]
        seen.add(of(swapped))
    halves = np.split(numbers, 2)
    seen |= {of(halves[1], halves[0]), of(-numbers), of(np.roll(numbers, 1))}
    assert len(seen) == 9


def test_arrays_are_told_apart_by_where_one_ends(simd_level):
    zeros = np.zeros(64, np.uint8)
    assert len({of(zeros), of(zeros[:32], zeros[32:]), of(zeros[:16], zeros[16:]), of(zeros, zeros[:0])}) == 4


def test_signs_of_many_numbers_do_not_cancel_out(simd_level, rng):
    numbers = rng.standard_normal(4096).astype(np.float32)
    seen = {of(numbers)}
    for step in (1, 2, 4, 8, 32, 64, 128):
        for first in range(0, 1024, 256):
            changed = numbers.copy()
            changed[[first, first + step]] *= -1
            seen.add(of(changed))
    assert len(seen) == 1 + 7 * 4


def test_memory_that_is_none_is_refused():
    for wrong in ([(0, 8)], [(8, -1)]):
        with pytest.raises(ValueError, match="fingerprint: memory: expected bytes"):
            fingerprint(wrong)


def test_tensors_of_any_dtype_layout_and_shape_have_a_content():
    tensors = [torch.ones(3, 4), torch.ones(4, 3).T, torch.tensor(2.0), torch.ones(0), torch.ones(5).bfloat16()]
    tensors.append(torch.ones(3, requires_grad=True))
    with torch.inference_mode():
        tensors.append(torch.ones(2))
    content = content_of(tensors)
    assert content_of([tensor.clone() for tensor in tensors]) == content
    tensors[1].data[2, 1] = 5.0
    assert content_of(tensors) != content
    assert content_of([torch.ones(4).half()]) != content_of([torch.ones(4).half().view(torch.bfloat16)])
    assert content_of([torch.ones(2, 3)]) != content_of([torch.ones(3, 2)])


def test_what_is_kept_serves_while_the_content_is_the_same_and_goes_with_the_module():
    module, made = torch.nn.Linear(2, 2), []

    def ask(content):
        return kept(module, "name", content, lambda: made.append(content) or len(made))

    assert [ask("a"), ask("a"), ask("b"), ask("a")] == [1, 1, 2, 3]
    assert kept(torch.nn.Linear(2, 2), "name", "a", lambda: "another module's") == "another module's"

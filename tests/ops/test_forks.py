"""A forked process works, whatever its parent had loaded and done before, and so does the parent afterwards."""

from __future__ import annotations

import os

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

PROGRAM = """
import multiprocessing, os, signal, threading, time

def torch_is_loaded():
    import torch

def torch_works():
    import torch
    torch.set_num_threads(3)
    torch.ones(400_000).exp().sum()  # on its OpenMP threads

def lvm_fast_is_loaded():
    import lvm_fast.ops.rowwise

def lvm_fast_works():
    import numpy as np
    import lvm_fast as lf
    lf.kernels.set_num_threads(3)
    rows = np.random.default_rng(0).standard_normal((4000, 256), dtype=np.float32)
    assert (lf.VectorBank(rows, normalize=True).topk(rows[:640], 1)[1][:, 0] == np.arange(640)).all()
    assert abs((lf.l2_normalize(rows) ** 2).sum(axis=1) - 1).max() < 1e-5

def forked(work):
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return child

def check(child):
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            assert status == 0, status
            return
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    raise TimeoutError("the child hangs")

def works_and_so_does_a_child():
    lvm_fast_works()
    check(forked(lvm_fast_works))

def from_a_thread():
    children = []
    thread = threading.Thread(target=lambda: children.append(forked(works_and_so_does_a_child)))
    thread.start()
    thread.join()
    return children[0]

def in_a_pool():
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for answer in [pool.apply_async(lvm_fast_works) for _ in range(4)]:
            answer.get(100)

for before in {before}:
    globals()[before]()
check(forked(works_and_so_does_a_child))
in_a_pool()
check(from_a_thread())
works_and_so_does_a_child()
check(forked(works_and_so_does_a_child))
in_a_pool()
"""


@pytest.mark.parametrize(
    "before",
    [
        [],
        ["lvm_fast_is_loaded"],
        ["lvm_fast_works"],
        ["torch_is_loaded"],
        ["torch_works"],
        ["torch_works", "lvm_fast_is_loaded"],
        ["torch_works", "lvm_fast_works"],
        ["lvm_fast_works", "torch_works"],
        ["lvm_fast_is_loaded", "torch_works", "lvm_fast_works"],
    ],
    ids=", ".join,
)
def test_a_forked_child_works_and_so_does_its_parent(run_python, before):
    ended = run_python(PROGRAM.replace("{before}", repr(before)))
    assert ended.returncode == 0, ended.stderr

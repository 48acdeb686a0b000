"""Jobs of the core run on torch's OpenMP threads where there are as many, and on threads of their own elsewhere."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there are torch's threads joined")

PROGRAM = """
import os, threading, time
import numpy as np, torch
import lvm_fast as lf

torch.set_num_threads({torch_threads})
rows = np.random.default_rng(0).standard_normal((6000, 768), dtype=np.float32)
expected = torch.nn.functional.normalize(torch.from_numpy(rows))  # and torch's threads are there

def threads():
    return len(os.listdir("/proc/self/task"))

def normalize():
    for _ in range(20):
        assert np.abs(lf.l2_normalize(rows) - expected.numpy()).max() < 1e-6

before = threads()
"""


def more_threads(run_python, code: str, torch_threads: int = 3, **environment: str) -> int:
    """How many threads the code adds to those of a process in which torch has worked, our threads being 3."""
    program = PROGRAM.format(torch_threads=torch_threads) + code + "\nprint(threads() - before)"
    ended = run_python(program, **{"LVM_FAST_NUM_THREADS": "3", "OMP_WAIT_POLICY": "ACTIVE", **environment})
    assert ended.returncode == 0, ended.stderr
    return int(ended.stdout)


def test_torch_threads_do_the_work_where_there_are_as_many(run_python):
    assert more_threads(run_python, "normalize()") == 0


def test_our_own_threads_do_it_where_torch_has_another_number(run_python):
    assert more_threads(run_python, "normalize()", torch_threads=2) == 2


def test_our_own_threads_do_it_where_those_of_torch_sleep(run_python):
    assert more_threads(run_python, "normalize()", OMP_WAIT_POLICY="passive") == 2


def test_no_more_threads_of_torch_are_started_for_another_thread(run_python):
    code = """
other = threading.Thread(target=normalize)
other.start()
other.join()
while str(other.native_id) in os.listdir("/proc/self/task"):  # it may be on its way out still
    time.sleep(0.01)
"""
    assert more_threads(run_python, code) == 2


def test_a_number_of_threads_that_changes_is_followed(run_python):
    code = "normalize(); torch.set_num_threads(2); normalize(); lf.kernels.set_num_threads(2); normalize()"
    assert more_threads(run_python, code) <= 1


def test_a_forked_child_does_not_wait_for_threads_that_it_has_not(run_python):
    code = """
normalize()
child = os.fork()
if child == 0:
    normalize()
    os._exit(0 if threads() == 3 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    assert more_threads(run_python, code) <= 0  # numpy ends those of its own before a fork

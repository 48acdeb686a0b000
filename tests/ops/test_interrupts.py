"""Ctrl-C and other signals are heard in the middle of long calls of the core, on Python's main thread."""

from __future__ import annotations

import pytest

# The questions would take hours: their rows are one row again and again, which takes no memory.
PROGRAM = """
import os, signal, threading, time
import numpy as np
import lvm_fast as lf

signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may begin without one
rows = np.random.default_rng(0).standard_normal((200_000, 64), dtype=np.float32)
bank = lf.VectorBank(rows, normalize=True)
endless = np.broadcast_to(rows[0], (10**7, 64))

def send(after=0.3):
    threading.Timer(after, os.kill, (os.getpid(), signal.SIGINT)).start()

def is_well():
    return bank.topk(rows[7:9], 1)[1].ravel().tolist() == [7, 8]

"""

ENDLESS = {
    "topk": "bank.topk(endless, 10)",
    "rank": "bank.rank(endless, np.zeros(10**7, np.int64))",
    "band": "bank.band(endless, 0.5, 1.0, 10)",
    "logsumexp": "bank.logsumexp(endless)",
    "hit_at_k": "lf.hit_at_k(endless, np.zeros(10**7, np.int64), bank=bank)",
    "ShardedBank": "lf.ShardedBank(rows, 0).topk(endless, 10)",
}


@pytest.mark.parametrize("call", ENDLESS.values(), ids=ENDLESS)
def test_ctrl_c_ends_a_question_and_the_bank_answers_the_next(run_python, call):
    code = f"""
send()
try:
    {call}
except KeyboardInterrupt:
    assert is_well()
    print("heard")
"""
    assert run_python(PROGRAM + code).stdout.strip() == "heard"


def test_ctrl_c_is_heard_on_torch_threads(run_python):
    code = """
import torch
torch.set_num_threads(2)
lf.kernels.set_num_threads(2)
for _ in range(2):
    torch.ones(400_000).exp().sum()  # its threads are there
    send()
    try:
        bank.topk(endless, 10)
    except KeyboardInterrupt:
        assert is_well()
        print("heard")
"""
    assert run_python(PROGRAM + code, OMP_WAIT_POLICY="ACTIVE").stdout.split() == ["heard"] * 2


def test_what_a_handler_raises_arrives(run_python):
    code = """
def handler(*_):
    raise TimeoutError("enough")
signal.signal(signal.SIGINT, handler)
send()
try:
    bank.topk(endless, 10)
except TimeoutError as error:
    assert is_well()
    print(error)
"""
    assert run_python(PROGRAM + code).stdout.strip() == "enough"


def test_a_handler_that_raises_nothing_changes_nothing(run_python):
    code = """
expected = bank.topk(rows[:3000], 10)
asked = []
def handler(*_):  # which may ask, too, in the middle of the question
    asked.append(is_well())
signal.signal(signal.SIGINT, handler)
while not asked:
    send(0.1)
    for found, wanted in zip(bank.topk(rows[:3000], 10), expected):
        assert (found == wanted).all()
assert all(asked)
print("well")
"""
    assert run_python(PROGRAM + code).stdout.strip() == "well"


def test_a_handler_cannot_change_the_threads_in_the_middle_of_a_job(run_python):
    code = """
lf.kernels.set_num_threads(2)
signal.signal(signal.SIGINT, lambda *_: lf.kernels.set_num_threads(1))
for after in (0.3, 1, 3, 10, 30):  # one may come between jobs
    send(after)
try:
    bank.topk(endless, 10)
except RuntimeError as error:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert is_well()
    print(error)
"""
    assert "set_num_threads: expected a call between jobs" in run_python(PROGRAM + code).stdout


def test_a_question_of_another_thread_goes_on(run_python):
    code = """
expected = bank.topk(rows[:6000], 10)[1]
found = []
other = threading.Thread(target=lambda: found.append(bank.topk(rows[:6000], 10)[1]))
other.start()
send(0.1)
try:
    time.sleep(100)
except KeyboardInterrupt:
    other.join()
    assert (found[0] == expected).all()
    print("well")
"""
    assert run_python(PROGRAM + code).stdout.strip() == "well"


def test_another_thread_may_set_the_threads_while_a_question_goes_on(run_python):
    code = """
lf.kernels.set_num_threads(2)
setter = threading.Timer(0.2, lf.kernels.set_num_threads, (3,))
setter.start()
send(1)
try:
    bank.topk(endless, 10)
except KeyboardInterrupt:
    setter.join()
    assert is_well()
    print(lf.kernels.num_threads())
"""
    assert run_python(PROGRAM + code).stdout.strip() == "3"

"""The package as a whole: light to import, typed, stubs that match the core."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import lvm_fast as lf
from lvm_fast import _core


def test_importing_the_package_loads_nothing_heavy(run_python):
    code = "import sys, json, lvm_fast; print(json.dumps(sorted(sys.modules)))"
    loaded = set(json.loads(run_python(code).stdout))
    assert not loaded & {"torch", "numpy", "coremltools", "matplotlib", "safetensors", "yaml"}


def test_building_the_command_line_needs_no_torch(run_python):
    code = "import sys; from lvm_fast.cli import build_parser; build_parser(); print('torch' in sys.modules)"
    assert run_python(code).stdout.strip() == "False"


@pytest.mark.parametrize("name", lf.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(lf, name)
    assert name in dir(lf)
    if name != "__version__":
        assert value.__doc__


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'l2_normalise'"):
        lf.l2_normalise  # noqa: B018


def test_version_agrees_with_the_installed_metadata():
    from importlib.metadata import version

    assert version("lvm_fast") == lf.__version__


def test_forced_instruction_sets_and_threads_come_from_the_environment(run_python):
    show = "from lvm_fast import kernels; print(kernels.simd_level(), kernels.num_threads())"
    assert run_python(show, LVM_FAST_SIMD="scalar", LVM_FAST_NUM_THREADS="3").stdout.split() == ["scalar", "3"]
    for variable, value in (("LVM_FAST_SIMD", "mmx"), ("LVM_FAST_NUM_THREADS", "many"), ("LVM_FAST_NUM_THREADS", "0")):
        failed = run_python(show, **{variable: value})
        assert failed.returncode != 0
        assert f"ValueError: {variable}: expected" in failed.stderr
        assert f"'{value}'" in failed.stderr


def test_setting_what_the_machine_lacks_is_refused():
    with pytest.raises(ValueError, match="expected an instruction set of this CPU"):
        lf.kernels.set_simd_level("altivec")
    with pytest.raises(ValueError, match="set_num_threads: expected a whole number from 1 to 1024, got '0'"):
        lf.kernels.set_num_threads(0)


def test_a_forked_child_makes_its_own_threads(run_python):
    code = """
import os, numpy as np, lvm_fast as lf
x = np.ones((6000, 768), np.float32)
lf.l2_normalize(x)
child = os.fork()
if child == 0:
    ok = abs(lf.l2_normalize(x)[5999, 0] - 768 ** -0.5) < 1e-6
    threads = "/proc/self/task"  # Linux lists them there
    ok &= not os.path.isdir(threads) or len(os.listdir(threads)) > 1
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    assert run_python(code, LVM_FAST_NUM_THREADS="2").returncode == 0


def test_a_forked_child_keeps_the_number_of_threads(run_python):
    code = """
import os, lvm_fast as lf
lf.kernels.set_num_threads(3)
child = os.fork()
if child == 0:
    os._exit(lf.kernels.num_threads())
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
"""
    assert run_python(code, LVM_FAST_NUM_THREADS="2").returncode == 0


def test_type_stubs_match_the_core(tmp_path):
    pytest.importorskip("pybind11_stubgen")
    stub = Path(_core.__file__).with_name("_core.pyi")
    if not stub.exists():  # an editable install keeps the extension apart from the sources
        stub = Path(lf.__file__).with_name("_core.pyi")
    command = [sys.executable, "-m", "pybind11_stubgen", "lvm_fast._core", "-o", str(tmp_path), "--exit-code"]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    generated = (tmp_path / "lvm_fast" / "_core.pyi").read_text()
    assert generated == stub.read_text(), "run: pybind11-stubgen lvm_fast._core -o ."

"""Operators by name, and a kernel of somebody's own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import torch

from lvm_fast.ops.registry import OPERATORS

TOY = """
    from __future__ import annotations

    from torch import Tensor

    from lvm_fast._util.operators import check_tensors, define_operator
    import torch


    def _fake(x: Tensor, power: float) -> Tensor:
        return torch.empty_like(x)


    def _plain(x: Tensor, power: float) -> Tensor:
        return x.sign() * x.abs() ** power


    @define_operator(fake=_fake, plain=_plain)
    def toy_signed_power(x: Tensor, power: float) -> Tensor:
        check_tensors("toy_signed_power", x=(x, torch.float64, tuple(x.shape)))
        return torch.copysign(x.abs().pow(power), x)
"""


USE = """
    import torch

    import lvm_fast as lf
    from lvm_fast.ops.registry import OPERATORS

    OPERATORS.places["toy_signed_power"] = "toy_signed_power:toy_signed_power"
    lf.ops.define_operators()
    operator = torch.ops.lvm_fast.toy_signed_power
    x = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64, requires_grad=True)
    out = operator(x, 3.0)
    assert out.tolist() == [-8.0, 0.125, 27.0]
    out.sum().backward()
    assert x.grad.tolist() == [12.0, 0.75, 27.0]
    assert torch.vmap(lambda row: operator(row, 2.0))(x.detach()).tolist() == [-4.0, 0.25, 9.0]
    compiled = torch.compile(lambda rows: operator(rows, 2.0) + 1, backend="eager", fullgraph=True)
    assert compiled(x.detach()).tolist() == [-3.0, 1.25, 10.0]
"""


@pytest.mark.parametrize("name", OPERATORS)
def test_every_line_leads_to_the_operator_of_its_name(name):
    assert OPERATORS.load(name) is getattr(torch.ops.lvm_fast, name).default


def test_all_are_defined_at_once(tmp_path):
    code = f"""
import lvm_fast as lf, sys
lf.ops
assert "torch" not in sys.modules
lf.ops.define_operators()
import torch
defined = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("lvm_fast::")]
assert sorted(defined) == sorted("lvm_fast::" + name for name in {OPERATORS.names()})
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


def test_a_new_kernel_is_one_file_and_one_line(tmp_path):
    (tmp_path / "toy_signed_power.py").write_text(textwrap.dedent(TOY))
    (tmp_path / "use_it.py").write_text(textwrap.dedent(USE))  # in a process of its own: torch forgets no operator
    subprocess.run([sys.executable, tmp_path / "use_it.py"], check=True)

"""What torch's tools make of our GRU: copies, traces, exports, scripts, per-sample gradients, quantisation."""

from __future__ import annotations

import copy
import io
import pickle
import warnings

import pytest
import torch
from gru_pairs import Part, check_same, learn, steps, tensors_of
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.nn.utils._per_sample_grad import call_for_per_sample_grads
from torch.nn.utils.rnn import pack_sequence

import lvm_fast as lf


def saved(module: nn.Module):
    file = io.BytesIO()
    torch.save(module, file)
    file.seek(0)
    return learn(torch.load(file, weights_only=False))


def traced(module: nn.Module):
    graph = torch.jit.trace(Part(module), (steps(),))
    assert "lvm_fast::" not in str(graph.inlined_graph)
    file = io.BytesIO()
    torch.jit.save(graph, file)
    file.seek(0)
    return torch.jit.load(file)(steps(6, 5, 4))


def exported(module: nn.Module, **settings: bool):
    program = torch.export.export(Part(module), (steps(),), **settings)
    assert "lvm_fast" not in str(program.graph)
    return program.module()(steps())


@pytest.mark.parametrize(
    "use",
    [
        lambda module: learn(copy.deepcopy(module)),
        lambda module: learn(copy.deepcopy(parametrizations.weight_norm(module, "weight_hh_l1"))),
        lambda module: learn(pickle.loads(pickle.dumps(module))),
        saved,
        lambda module: learn(module.share_memory()),
        lambda module: module.double()(steps().double()),
        lambda module: module.to("meta")(steps().to("meta"))[0].shape,
        lambda module: torch.fx.symbolic_trace(Part(module))(steps()),
        lambda module: torch.fx.symbolic_trace(nn.Sequential(module))(steps()),
        lambda module: torch.jit.script(Part(module))(steps()),
        traced,
        exported,
        lambda module: exported(module, strict=True),
        lambda module: (repr(module), module.mode, module._flat_weights_names, module._all_weights),
        lambda module: (module.all_weights, module._flat_weights),
    ],
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # of torch's own GRU, too
@pytest.mark.filterwarnings("ignore:The tensor attributes self.gru._flat_weights")
def test_copies_traces_and_descriptions(use):
    check_same(use)


def test_torchscript_takes_packed_and_single_sequences():
    class Packed(nn.Module):
        def __init__(self, gru: nn.Module) -> None:
            super().__init__()
            self.gru = gru

        def forward(self, given: torch.nn.utils.rnn.PackedSequence, initial: Tensor):
            return self.gru(given, initial)

    class PackedPair(Packed):
        def forward(self, given: torch.nn.utils.rnn.PackedSequence, initial: Tensor):
            return self.gru(given, (initial, 2 * initial))

    packed = pack_sequence([steps()[:2, 0], steps()[:, 1], steps()[:4, 2]], enforce_sorted=False)

    def use(module: nn.Module):
        states, final = torch.jit.script(module)(packed, torch.ones(2, 3, 6))
        return [*states, *tensors_of(final)]

    for kind, holder in (("GRU", Packed), ("LSTM", PackedPair)):
        check_same(lambda module, holder=holder: use(holder(module)), (kind,))
    check_same(lambda module: torch.jit.script(Part(module))(steps()[:, 0]), batch_first=True)


def test_traced_by_itself_it_says_what_is_expected():
    with pytest.raises(torch.fx.proxy.TraceError, match="GRU: expected to be traced as a part of a module"):
        torch.fx.symbolic_trace(lf.GRU(4, 6))


def test_gradients_of_each_sample():
    class Samples(nn.Module):
        def __init__(self, gru: nn.Module) -> None:
            super().__init__()
            self.gru = gru

        def forward(self, x: Tensor) -> Tensor:
            return self.gru(x)[0]

    def use(module: nn.Module):
        samples = Samples(module)
        call_for_per_sample_grads(samples, batch_size=5)(steps(5, 6, 4)).sum().backward()
        return [parameter.grad_sample for parameter in samples.parameters()]

    check_same(use, batch_first=True)


def test_stacked_modules_run_as_one():
    torch.manual_seed(0)
    modules = [lf.GRU(4, 6, 2) for _ in range(3)]
    values, _ = torch.func.stack_module_state(modules)
    base = copy.deepcopy(modules[0]).to("meta")
    found = torch.vmap(lambda own: torch.func.functional_call(base, own, (steps(),)))(values)
    expected = [torch.stack(results) for results in zip(*(module(steps()) for module in modules), strict=True)]
    torch.testing.assert_close(found, tuple(expected))


def test_modules_of_version_0_1_load():
    current = lf.GRU(4, 6, 2, bias=False)
    state = {name: value for name, value in current.__getstate__().items() if "flat" not in name}
    for name in ("mode", "bidirectional", "proj_size", "_all_weights"):
        del state[name]  # which they did not have
    old = lf.GRU.__new__(lf.GRU)
    old.__setstate__(state)
    torch.testing.assert_close(old(steps()), current(steps()))
    assert repr(old) == repr(current)
    torch.testing.assert_close(old.double()(steps().double())[0], current.double()(steps().double())[0])
    copy.deepcopy(old)


def test_it_is_a_recurrent_module_of_torch_that_its_quantiser_refuses():
    from torch.ao.quantization import quantize_dynamic

    gru = lf.GRU(4, 6, 2)
    assert isinstance(gru, nn.RNNBase)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated
        with pytest.raises(ValueError, match=r"GRU: qconfig: expected None, .* put this module's \.as_torch\(\)"):
            quantize_dynamic(nn.Sequential(gru), {lf.GRU}, dtype=torch.qint8)
        kept = quantize_dynamic(nn.Sequential(gru, nn.Linear(6, 6)), {nn.Linear}, dtype=torch.qint8)[0]
        quantised = quantize_dynamic(nn.Sequential(gru.as_torch()), {nn.GRU}, dtype=torch.qint8)[0]
    assert torch.equal(kept(steps())[0], gru(steps())[0])
    assert "quantized" in type(quantised).__module__
    assert (quantised(steps())[0] - gru(steps())[0]).abs().max() < 0.02


def test_as_torch_is_torchs_own_class_with_the_same_parameters():
    gru = lf.GRU(4, 6, 2)
    twin = gru.as_torch()
    assert type(twin) is nn.GRU
    assert all(mine is its for mine, its in zip(gru.parameters(), twin.parameters(), strict=True))
    torch.testing.assert_close(twin(steps()), gru(steps()))
    twin.weight_hh_l0 = nn.Parameter(torch.zeros(18, 6))
    assert gru.weight_hh_l0.any()
    with pytest.raises(ValueError, match="as_torch: expected plain parameters"):
        parametrizations.weight_norm(gru, "weight_hh_l0").as_torch()


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_trace_goes_by_the_lengths_it_is_given():
    class Last(nn.Module):
        def __init__(self, gru: lf.GRU) -> None:
            super().__init__()
            self.gru = gru

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.gru.last_state(x, lengths=lengths)

    module, x = Last(lf.GRU(4, 6, 2)), steps()
    for given in (torch.full((5,), 6), torch.tensor([6, 5, 3, 3, 1])):
        traced = torch.jit.trace(module, (x, given))
        for lengths in (torch.tensor([1, 6, 2, 5, 3]), torch.full((5,), 6)):
            torch.testing.assert_close(traced(x, lengths), module(x, lengths))

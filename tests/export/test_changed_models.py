"""A model that computes otherwise than its type's program is refused, whatever was done to it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

import lvm_fast as lf
from lvm_fast.models.memory_gru import MemoryGRU
from lvm_fast.models.registry import model_names

pytest.importorskip("coremltools")

from lvm_fast.export.package.package import read_description

from .test_model_types import exported, model_of

CHANGES = {
    "a hook": (lambda m, path: m.get_submodule(path).register_forward_hook(lambda *given: None), "remove the hooks"),
    "another module": (lambda m, path: m.set_submodule(path, nn.Sequential(m.get_submodule(path), nn.ReLU())), "put"),
    "a parametrization": (
        lambda m, path: parametrizations.weight_norm(m.get_submodule(path)),
        "remove_parametrizations",
    ),
    "a pruned weight": (
        lambda m, path: prune.l1_unstructured(m.get_submodule(path), "weight", 0.5),
        r"prune\.remove",
    ),
    "a forward of its own": (lambda m, path: setattr(m.get_submodule(path), "forward", torch.tanh), "delete"),
    "a forward of the model": (lambda m, path: setattr(m, "forward", torch.tanh), "delete"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", [name for name in model_names() if name != "whitened_recency"])  # nothing to change
def test_changed_models_are_refused_with_the_way_to_merge(name, change, tmp_path):
    model = model_of(name)
    apply, cure = CHANGES[change]
    apply(model, [path for path, module in model.named_modules() if isinstance(module, nn.Linear)][-1])
    with pytest.raises(ValueError, match=f"export_coreml: .*, which a package would not hold; .*{cure}"):
        exported(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("change", "cure"), [("hook", "remove the hooks"), ("forward", "delete its 'forward'")])
def test_a_changed_space_is_refused(change, cure, tmp_path):
    model = model_of("whitened_recency whitened")
    if change == "hook":
        model.space.register_forward_hook(lambda *given: None)
    else:
        model.space.forward = torch.tanh
    with pytest.raises(ValueError, match=f"export_coreml: space has .*, which a package would not hold; .*{cure}"):
        exported(model, tmp_path)


def test_other_settings_are_refused_and_those_of_the_config_are_exported(tmp_path):
    model = model_of("memory_gru")
    model.normalize_delta = False
    package = exported(model, tmp_path)
    assert lf.verify_coreml(package, model).passed
    model.input_norm.eps = 0.1
    with pytest.raises(ValueError, match=r"export_coreml: input_norm\.eps = 0\.1; it was built with 1e-05, which a"):
        exported(model, tmp_path)
    with pytest.raises(ValueError, match=r"verify_coreml: input_norm\.eps = 0\.1; it was built with 1e-05, which a"):
        lf.verify_coreml(package, model)


def test_a_subclass_with_a_pass_of_its_own_and_a_routers_parts_are_refused(tmp_path):
    class Doubled(MemoryGRU):
        def delta_of(self, raw):
            return 2.0 * super().delta_of(raw)

    with pytest.raises(ValueError, match=r"export_coreml: Doubled has a 'delta_of' of its own"):
        exported(Doubled(input_dim=16, hidden_dim=12, memory_slots=8), tmp_path)
    router = lf.Router({5: model_of("memory_gru"), 9: model_of("lstm")})
    router.arms[9].output_proj.register_forward_hook(lambda *given: None)
    with pytest.raises(ValueError, match="export_coreml: output_proj has forward hooks"):
        lf.export_coreml(router, tmp_path / "r.mlpackage", streaming=False)
    router = lf.Router({5: model_of("memory_gru")})
    router.register_forward_hook(lambda *given: None)
    with pytest.raises(ValueError, match="export_coreml: the model has forward hooks"):
        lf.export_coreml(router, tmp_path / "r.mlpackage", streaming=False)


def test_metrics_of_numpy_are_written_into_the_package(tmp_path):
    model = model_of("memory_gru")
    model.metrics = {"hit5": np.float32(50.0), "pool": np.int64(9)}
    said = read_description(exported(model, tmp_path)).metadata.userDefined["lvm_fast.metrics"]
    assert json.loads(said) == {"hit5": 50.0, "pool": 9}

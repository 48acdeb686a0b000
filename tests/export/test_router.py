"""A router as one package: each length's function is its arm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast.cli import main
from lvm_fast.models.base import LatentVectorModel

pytest.importorskip("coremltools")

from lvm_fast.export.mil.interpreter import SavedProgram


def arm(name: str, seed: int, **sizes: Any) -> LatentVectorModel:
    torch.manual_seed(seed)
    model = lf.create_model(name, input_dim=16, hidden_dim=12, **sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


@pytest.fixture(scope="module")
def router() -> lf.Router:
    return lf.Router({4: arm("lstm", 1), 9: arm("memory_gru", 2, memory_slots=8)})


@pytest.fixture(scope="module")
def routed(router: lf.Router, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("router") / "router.mlpackage"
    return lf.export_coreml(router, path, streaming=False, precision="float32")


def test_the_limits_are_the_contexts_unless_given(router: lf.Router, routed: Path, tmp_path: Path) -> None:
    assert SavedProgram(routed).functions == ["predict_4", "predict_9"]
    package = lf.export_coreml(router, tmp_path / "m.mlpackage", contexts=(2, 4, 6), streaming=False)
    assert SavedProgram(package).functions == ["predict_2", "predict_4", "predict_6"]
    assert lf.verify_coreml(package, router).passed


def test_each_function_is_the_arm_of_its_length(router: lf.Router, routed: Path) -> None:
    saved = SavedProgram(routed)
    for length in (4, 9):
        context = lf.l2_normalize(np.random.default_rng(0).standard_normal((1, length, 16)).astype(np.float32))
        found = saved.run(f"predict_{length}", {"context": context})["next_vector"]
        np.testing.assert_allclose(found, router.predict(context), atol=2e-6)
    assert all(name.startswith("arm_4_") for name in saved.weights("predict_4"))
    assert all(name.startswith("arm_9_") for name in saved.weights("predict_9"))
    assert lf.verify_coreml(routed, router).passed


def test_weights_are_shared_within_an_arm_only(router: lf.Router, tmp_path: Path) -> None:
    def weight_bytes(name: str, contexts: tuple[int, ...]) -> int:
        package = lf.export_coreml(router, tmp_path / name, contexts=contexts, streaming=False)
        return (package / "Data/com.apple.CoreML/weights/weight.bin").stat().st_size

    first, second = weight_bytes("a.mlpackage", (3,)), weight_bytes("b.mlpackage", (8,))
    both = weight_bytes("c.mlpackage", (2, 3, 4, 7, 8, 9))
    assert max(first, second) < both <= first + second


def test_the_package_tells_what_its_arms_are(router: lf.Router, routed: Path) -> None:
    facts = SavedProgram(routed).spec.description.metadata.userDefined
    assert facts["lvm_fast.model_type"] == "router"
    config = json.loads(facts["lvm_fast.config"])
    assert {limit: about["model_type"] for limit, about in config["arms"].items()} == {"4": "lstm", "9": "memory_gru"}
    assert (config["unit"], config["threshold"]) == ("vectors", None)


def test_a_changed_arm_is_caught_in_its_function_alone(router: lf.Router, routed: Path) -> None:
    other = lf.Router({4: arm("lstm", 7), 9: router.arms[9]})
    verification = lf.verify_coreml(routed, other)
    assert [check.passed for check in verification.functions] == [False, True]
    with pytest.raises(ValueError, match="holds a router of width 16; the model is a memory_gru of width 16"):
        lf.verify_coreml(routed, router.arms[9])


def test_a_sure_first_arm_does_not_confuse_the_others(router: lf.Router, routed: Path) -> None:
    bank = lf.VectorBank(np.eye(16, dtype=np.float32))
    assert lf.verify_coreml(routed, lf.Router(router.arms, bank=bank, threshold=0.0)).passed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"streaming": True}, "router has no step for streaming: its model depends on how long the context is"),
        ({"flexible": 5}, "flexible: a router's model depends on the length"),
        ({"contexts": (4, 10)}, r"contexts\[1\] = 10; expected at most 9, the router's largest limit"),
    ],
)
def test_what_a_router_cannot_do_is_refused(
    router: lf.Router, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        lf.export_coreml(router, tmp_path / "m.mlpackage", **{"streaming": False, **options})
    assert not list(tmp_path.iterdir())


def test_an_untrained_arm_is_warned_of(router: lf.Router, tmp_path: Path) -> None:
    fresh = lf.create_model("memory_gru", input_dim=16, hidden_dim=12, memory_slots=8)
    with pytest.warns(UserWarning, match="looks untrained"):
        lf.export_coreml(lf.Router({4: router.arms[4], 9: fresh}), tmp_path / "m.mlpackage", streaming=False)


def test_the_commands_take_a_router(router: lf.Router, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    router.save_pretrained(tmp_path / "router")
    package = str(tmp_path / "m.mlpackage")
    assert main(["export", str(tmp_path / "router"), "--output", package, "--no-streaming"]) == 0
    assert "m.mlpackage: predict_4, predict_9; float16, " in capsys.readouterr().out
    assert main(["verify", package, "--checkpoint", str(tmp_path / "router")]) == 0
    assert main(["export", str(tmp_path / "router"), "--compare", "--data", "sample"]) == 2
    assert "--compare takes one model, such as an arm of it" in capsys.readouterr().err

"""What `export_coreml` writes, and what it refuses."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import lvm_fast as lf
from lvm_fast._util.atomic_files import size_of
from lvm_fast.models.base import LatentVectorModel

ct = pytest.importorskip("coremltools")


FLOAT32, FLOAT16 = 65568, 65552  # ArrayFeatureType.ArrayDataType


def description_of(package: Path) -> Any:
    return ct.models.MLModel(str(package), skip_model_load=True).get_spec().description


def shapes(features: Any) -> dict[str, tuple[int, ...]]:
    assert all(feature.type.multiArrayType.dataType == FLOAT32 for feature in features)
    return {feature.name: tuple(feature.type.multiArrayType.shape) for feature in features}


def weight_file(package: Path) -> Path:
    return package / "Data/com.apple.CoreML/weights/weight.bin"


def loops(package: Path, function: str) -> list[Any]:
    from lvm_fast.export.package.package import read_package

    program = read_package(package)[1]
    return [operation for operation in program.functions[function].operations if operation.op_type == "while_loop"]


def test_every_context_is_a_function_and_streaming_one_more(package: Path) -> None:
    description = description_of(package)
    functions = {function.name: function for function in description.functions}
    assert list(functions) == ["predict_3", "predict_5", "step"]
    assert description.defaultFunctionName == "predict_3"
    assert shapes(functions["predict_3"].input) == {"context": (1, 3, 16)}
    assert shapes(functions["predict_5"].input) == {"context": (1, 5, 16)}
    assert shapes(functions["step"].input) == {"vector": (1, 16)}
    for function in functions.values():
        assert shapes(function.output) == {"next_vector": (1, 16), "delta": (1, 16)}


def test_step_keeps_a_float16_state_for_every_layer(package: Path) -> None:
    *predicts, step = description_of(package).functions
    assert [list(function.state) for function in predicts] == [[], []]
    states = {state.name: state.type.stateType.arrayType for state in step.state}
    assert list(states) == ["hidden_0", "hidden_1", "hidden_2", "hidden_3"]
    assert all(tuple(array.shape) == (1, 32) and array.dataType == FLOAT16 for array in states.values())


def test_metadata_tells_what_the_package_is(model: LatentVectorModel, tmp_path: Path) -> None:
    model.metrics = {"hit5": 61.5, "pool": 1148, "baselines": {"copy_last": {"hit5": 29.9}}}
    model.recipe_digest = "0123456789abcdef"
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), author="Someone")
    description = description_of(package)
    about = description.metadata
    assert (about.author, about.license, about.versionString) == ("Someone", "Apache-2.0", lf.__version__)
    assert "memory_gru" in about.shortDescription
    facts = about.userDefined
    assert facts["lvm_fast.model_type"] == "memory_gru"
    assert json.loads(facts["lvm_fast.config"]) == model.config
    assert json.loads(facts["lvm_fast.metrics"]) == model.metrics
    assert facts["lvm_fast.hit@5"] == "61.50% among 1,148 candidates; baselines: copy_last 29.90%"
    assert "lvm_fast.hit@1" not in facts
    assert facts["lvm_fast.recipe_sha256"] == "0123456789abcdef"
    assert facts["lvm_fast.compress"] == "none"
    assert json.loads(facts["lvm_fast.contexts"]) == [3]
    assert facts["lvm_fast.parameters"] == str(sum(parameter.numel() for parameter in model.parameters()))
    assert facts["torch.version"] == torch.__version__
    assert facts["com.github.apple.coremltools.version"] == ct.__version__


def test_every_input_output_and_state_is_described_with_its_shape(package: Path) -> None:
    for function in description_of(package).functions:
        for feature in (*function.input, *function.output):
            shape = list(feature.type.multiArrayType.shape)
            assert f"Shape {shape}, float32." in feature.shortDescription
        for state in function.state:
            assert "Shape [1, 32], float16." in state.shortDescription


def test_the_author_is_the_project_unless_given(package: Path) -> None:
    assert description_of(package).metadata.author == "The lvm_fast developers"


def test_longer_contexts_cost_no_operations(model: LatentVectorModel, tmp_path: Path) -> None:
    from lvm_fast.export.mil.interpreter import SavedProgram

    saved = SavedProgram(lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(1, 5, 400)))
    counts = {saved.count_operations(f"predict_{length}") for length in (1, 5, 400)}
    assert len(counts) == 1
    assert counts.pop() <= 130


def test_the_loop_carries_the_hidden_states_and_no_history(package: Path) -> None:
    (loop,) = loops(package, "predict_5")
    assert [tuple(var.shape) for var in loop.loop_vars] == [(1,), *[(1, 12)] * 4]


def test_weights_are_stored_once_for_all_functions(
    small_model: Callable[..., LatentVectorModel], tmp_path: Path
) -> None:
    model = small_model(input_dim=64, hidden_dim=64, memory_slots=128)
    one = lf.export_coreml(model, tmp_path / "one.mlpackage", contexts=(3,), streaming=False)
    four = lf.export_coreml(model, tmp_path / "four.mlpackage", contexts=(3, 4, 5))
    assert weight_file(four).stat().st_size == weight_file(one).stat().st_size


def test_float16_halves_the_package(model: LatentVectorModel, tmp_path: Path) -> None:
    sizes = {
        precision: weight_file(
            lf.export_coreml(model, tmp_path / f"{precision}.mlpackage", contexts=(3,), precision=precision)
        )
        .stat()
        .st_size
        for precision in ("float16", "float32")
    }
    assert 1.5 < sizes["float32"] / sizes["float16"] < 2.0


@pytest.mark.parametrize(("target", "version"), [("ios16", 7), ("ios17", 8)])
def test_older_targets_hold_one_function(model: LatentVectorModel, tmp_path: Path, target: str, version: int) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), streaming=False, target=target)
    spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
    assert spec.specificationVersion == version
    assert not spec.description.functions
    assert shapes(spec.description.input) == {"context": (1, 3, 16)}
    assert shapes(spec.description.output) == {"next_vector": (1, 16), "delta": (1, 16)}
    assert "Shape [1, 3, 16], float32." in spec.description.input[0].shortDescription
    assert lf.verify_coreml(package, model).passed


@pytest.mark.parametrize("target", ["ios18", "macos13"])
def test_a_flexible_function_takes_any_number_of_vectors(model: LatentVectorModel, tmp_path: Path, target: str) -> None:
    package = lf.export_coreml(
        model, tmp_path / "m.mlpackage", contexts=(), streaming=False, flexible=40, target=target
    )
    description = description_of(package)
    (function,) = description.functions or [description]
    assert target != "ios18" or function.name == "predict"
    sizes = function.input[0].type.multiArrayType.shapeRange.sizeRanges
    assert [(size.lowerBound, size.upperBound) for size in sizes] == [(1, 1), (1, 40), (16, 16)]
    assert "The last 1 to 40 text-chunk embeddings" in function.input[0].shortDescription
    assert shapes(function.output) == {"next_vector": (1, 16), "delta": (1, 16)}
    (check,) = lf.verify_coreml(package, model).functions
    assert check.passed
    assert check.predictions == 3  # of 1, 2 and 13 vectors


def test_streaming_alone_is_a_package(model: LatentVectorModel, tmp_path: Path) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=())
    assert [function.name for function in description_of(package).functions] == ["step"]


def test_the_full_model_at_the_default_contexts(tmp_path: Path) -> None:
    from lvm_fast.export.mil.interpreter import SavedProgram

    torch.manual_seed(0)
    model = lf.create_model("memory_gru").eval()
    with pytest.warns(UserWarning, match="looks untrained"):
        package = lf.export_coreml(model, tmp_path / "full.mlpackage")
    assert size_of(package) < 22e6
    saved = SavedProgram(package)
    assert saved.functions == ["predict_100", "predict_500", "predict_1000", "step"]
    context = lf.l2_normalize(torch.randn(1, 100, 768)).numpy()
    outputs = saved.run("predict_100", {"context": context})
    assert abs(outputs["next_vector"] - model.predict(context)).max() < 5e-4


@pytest.mark.parametrize(("compress", "limit"), [("int8", 13.5e6), ("palette4", 7e6)])
def test_the_full_model_is_small_when_compressed(tmp_path: Path, compress: str, limit: float) -> None:
    torch.manual_seed(0)
    model = lf.create_model("memory_gru").eval()
    with pytest.warns(UserWarning, match="looks untrained"):
        package = lf.export_coreml(model, tmp_path / "full.mlpackage", compress=compress)
    assert size_of(package) <= limit


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"contexts": (3, 0)}, r"contexts\[1\]: expected a whole number from 1 to 1000000, got 0"),
        ({"contexts": (3, 3)}, r"contexts\[1\] = 3 again; expected different whole numbers"),
        ({"contexts": (2.5,)}, r"contexts\[0\]: expected a whole number from 1 to 1000000, got 2.5"),
        ({"contexts": (True,)}, r"contexts\[0\]: expected a whole number from 1 to 1000000, got True"),
        ({"contexts": (10**9,)}, r"contexts\[0\]: expected .* to 1000000, got 1000000000"),
        ({"contexts": 3}, "contexts = 3; expected a list of whole numbers"),
        ({"contexts": "35"}, "contexts = '35'; expected a list of whole numbers"),
        ({"streaming": 1}, "streaming: expected True or False, got 1"),
        ({"contexts": (), "streaming": False}, "expected at least one function"),
        ({"precision": "float64"}, "unknown precision 'float64'; did you mean 'float16'"),
        ({"compress": "int4"}, "unknown compress 'int4'; did you mean 'int8'. There are: int8, palette6, palette4"),
        ({"target": "ios15"}, "unknown target 'ios15'; did you mean 'ios18'. There are: ios16, ios17, ios18, macos13"),
        ({"target": "ios17"}, r"streaming needs target 'ios18' \(or 'macos15'\); target 'ios17' has no Core ML state"),
        ({"target": "macos13", "streaming": False}, "more than one function needs target 'ios18'"),
        ({"target": "ios17", "streaming": False, "compress": "int8"}, "compress = 'int8' needs target 'ios18'"),
        ({"flexible": 0}, "flexible: expected a whole number from 1 to 1000000, got 0"),
        ({"path": "m.mlmodel"}, r"path is .*m.mlmodel'; expected a name ending in .mlpackage"),
    ],
)
def test_bad_arguments_are_named(
    model: LatentVectorModel, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = tmp_path / arguments.pop("path", "m.mlpackage")
    with pytest.raises(ValueError, match=message):
        lf.export_coreml(model, path, **{"contexts": (3, 5), **arguments})
    assert not list(tmp_path.iterdir())


def test_numbers_may_be_numpys(model: LatentVectorModel, tmp_path: Path) -> None:
    bank = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    plain = {"contexts": (3, 5), "streaming": True, "flexible": 4, "topk": 2}
    numpys = {
        "contexts": np.array([3, 5]),
        "streaming": np.bool_(True),
        "flexible": np.int64(4),
        "topk": np.int32(2),
    }
    packages = [
        lf.export_coreml(model, tmp_path / name / "m.mlpackage", bank=bank, **options)
        for name, options in (("plain", plain), ("numpys", numpys))
        if not (tmp_path / name).mkdir()
    ]
    first, second = (description_of(package) for package in packages)
    assert first == second
    assert [function.name for function in second.functions] == ["predict_3", "predict_5", "predict", "step", "topk"]
    assert lf.verify_coreml(packages[1], model, contexts=np.int64(1), bank=bank).passed


def test_other_model_types_are_refused_by_name(model: LatentVectorModel, tmp_path: Path) -> None:
    model.model_type = "abacus"  # type: ignore[misc]
    with pytest.raises(ValueError, match="model_type 'abacus' does not export yet; expected memory_gru"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    changed: Callable[..., LatentVectorModel], tmp_path: Path, value: float
) -> None:
    model = changed(lambda tensors: tensors["fusion.0.weight"][2, 3].fill_(value))
    with pytest.raises(ValueError, match=r"fusion\.0\.weight of the model holds NaN or Inf"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    assert not list(tmp_path.iterdir())


def test_weights_beyond_float16_need_float32(changed: Callable[..., LatentVectorModel], tmp_path: Path) -> None:
    model = changed(lambda tensors: tensors["fusion.0.bias"][2].fill_(70_000.0))
    with pytest.raises(ValueError, match=r"fusion\.0\.bias holds 70000; expected at most the largest float16"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), precision="float32")


def test_an_untrained_model_exports_with_a_warning(tmp_path: Path) -> None:
    model = lf.create_model("memory_gru", input_dim=16, hidden_dim=12, memory_slots=8)
    with pytest.warns(UserWarning, match="looks untrained"):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))


def test_an_existing_package_is_replaced_only_when_asked(model: LatentVectorModel, tmp_path: Path) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,), streaming=False)
    with pytest.raises(FileExistsError, match="exists already; pass overwrite=True"):
        lf.export_coreml(model, package, contexts=(5,), streaming=False)
    assert [function.name for function in description_of(package).functions] == ["predict_3"]
    lf.export_coreml(model, package, contexts=(5,), streaming=False, overwrite=True)
    assert [function.name for function in description_of(package).functions] == ["predict_5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.expected.safetensors", "m.mlpackage"]


def test_a_missing_folder_is_named(model: LatentVectorModel, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "m.mlpackage"
    with pytest.raises(FileNotFoundError, match=r"nowhere/m\.mlpackage"):
        lf.export_coreml(model, path, contexts=(3,))


@pytest.mark.parametrize(("limit", "culprit"), [(1000, "m.expected.safetensors"), (10_000, "m.mlpackage")])
def test_a_full_disk_leaves_the_old_package_alone(
    model: LatentVectorModel, tmp_path: Path, limit: int, culprit: str
) -> None:
    package = lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    before = [weight_file(package).read_bytes(), (tmp_path / "m.expected.safetensors").read_bytes()]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OSError, match="cannot save: ") as caught:
            lf.export_coreml(model, package, contexts=(3, 5), overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.filename == str(tmp_path / culprit)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.expected.safetensors", "m.mlpackage"]
    assert [weight_file(package).read_bytes(), (tmp_path / "m.expected.safetensors").read_bytes()] == before


@pytest.mark.parametrize("streaming", [True, False])
def test_what_does_not_read_back_as_it_was_is_not_left(
    model: LatentVectorModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool
) -> None:
    def lose(spec: Any, *rest: Any) -> None:
        describe(spec, *rest)
        spec.description.functions[0].output.pop()

    from lvm_fast.export import metadata

    describe = metadata.write_metadata
    monkeypatch.setattr(metadata, "write_metadata", lose)
    with pytest.raises(ValueError, match=r"export_coreml: predict_3 was saved with "):
        lf.export_coreml(model, tmp_path / "m.mlpackage", contexts=(3, 4), streaming=streaming)
    assert list(tmp_path.iterdir()) == []


def test_everyone_who_may_read_the_package_may_read_its_model(package: Path) -> None:
    modes = {file.stat().st_mode & 0o777 for file in package.rglob("*") if file.is_file()}
    assert len(modes) == 1


def module(version: str) -> ModuleType:
    """A coremltools that has nothing but its version."""
    empty = ModuleType("coremltools")
    empty.__version__ = version  # type: ignore[attr-defined]
    return empty


@pytest.mark.parametrize(
    ("installed", "message"),
    [
        (None, r"needs coremltools 9 \(.*\): pip install 'lvm_fast\[coreml\]'"),
        (module("8.3.0"), r"needs coremltools 9, found 8\.3\.0: pip install 'lvm_fast\[coreml\]'"),
        (module("10.0"), r"needs coremltools 9, found 10\.0: pip install"),
        (
            module("9.0"),
            r"coremltools 9\.0 lacks its compiled libraries for Python 3\..*: use a 64-bit Python 3\.10 to 3\.13",
        ),
    ],
    ids=["missing", "old", "new", "without its libraries"],
)
def test_a_coremltools_that_does_not_serve_says_what_to_install(
    model: LatentVectorModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: ModuleType | None,
    message: str,
) -> None:
    for name in [name for name in sys.modules if name.startswith(("lvm_fast.export.", "coremltools."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "coremltools", installed)
    from lvm_fast.export.coreml import export_coreml

    with pytest.raises(ImportError, match=message):
        export_coreml(model, tmp_path / "m.mlpackage", contexts=(3,))
    assert not list(tmp_path.iterdir())


def test_export_says_nothing_on_standard_error(model: LatentVectorModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path / "saved")
    program = (
        "import lvm_fast as lf; model = lf.load_model('saved');"
        "print(lf.verify_coreml(lf.export_coreml(model, 'm.mlpackage', contexts=(3,)), model).passed)"
    )
    result = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.stdout, result.stderr) == ("True\n", "")

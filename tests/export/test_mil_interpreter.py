"""The interpreter against torch, operation by operation, on programs that went to disk and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

ct = pytest.importorskip("coremltools")

from lvm_fast.export.coremltools_compat import Function, get_new_symbol, mb, types  # noqa: E402
from lvm_fast.export.mil.interpreter import SavedProgram  # noqa: E402
from lvm_fast.export.package.package import write_package  # noqa: E402

Body = Callable[[Any], Any]


def saved_program(
    path: Path, body: Body, shape: tuple[int, ...] = (3, 8), dtype: str = "fp32", **states: Any
) -> SavedProgram:
    """A package with one function `f` that computes `body` of its input `x`."""
    mb.name_count.clear()
    inputs = {"x": mb.placeholder(shape, types.string_to_builtin(dtype)), **states}
    with Function(inputs, opset_version=ct.target.iOS18) as function:
        results = body(*function.inputs.values())
        results = results if isinstance(results, (list, tuple)) else [results]
        function.set_outputs([mb.identity(x=var, name=f"y{index}") for index, var in enumerate(results)])
    write_package({"f": function}, path / "program.mlpackage", lambda spec: None)
    return SavedProgram(path / "program.mlpackage")


WEIGHT = torch.linspace(-1.0, 1.0, 40).reshape(5, 8)
BIAS = torch.linspace(0.5, -0.5, 5)
CODES = torch.arange(-40, 40, 2, dtype=torch.int8).reshape(8, 5)
SCALES = torch.linspace(0.01, 0.08, 8).reshape(8, 1)
INDICES = (np.arange(40).reshape(8, 5) % 16).astype(types.np_uint4_dtype)
PALETTES = np.linspace(-1.0, 1.0, 32, dtype=np.float32).reshape(2, 16)  # for rows 0 to 3, and 4 to 7
GAMMA, BETA = torch.linspace(0.5, 1.5, 8), torch.linspace(-1.0, 1.0, 8)


def count_down(x: Any) -> Any:
    """x doubled four times, by a loop that also carries the number of doublings left."""
    return mb.while_loop(
        _cond=lambda left, _: mb.less(x=np.array([0], np.int32), y=left),
        _body=lambda left, y: (mb.sub(x=left, y=np.array([1], np.int32)), mb.add(x=y, y=y)),
        loop_vars=(np.array([4], np.int32), x),
    )[1]


OPERATIONS: dict[str, tuple[Body, Callable[[Tensor], Any]]] = {
    "add": (lambda x: mb.add(x=x, y=np.float32(0.3)), lambda x: x + 0.3),
    "sub": (lambda x: mb.sub(x=np.float32(1.0), y=x), lambda x: 1.0 - x),
    "mul": (lambda x: mb.mul(x=x, y=GAMMA.numpy()), lambda x: x * GAMMA),
    "real_div": (lambda x: mb.real_div(x=x, y=GAMMA.numpy()), lambda x: x / GAMMA),
    "maximum": (lambda x: mb.maximum(x=x, y=np.float32(0.1)), lambda x: x.clamp(min=0.1)),
    "minimum": (lambda x: mb.minimum(x=x, y=np.float32(0.1)), lambda x: x.clamp(max=0.1)),
    "linear": (lambda x: mb.linear(x=x, weight=WEIGHT.numpy(), bias=BIAS.numpy()), lambda x: F.linear(x, WEIGHT, BIAS)),
    "matmul": (lambda x: mb.matmul(x=x, y=WEIGHT.T.numpy()), lambda x: x @ WEIGHT.T),
    "matmul transposed": (lambda x: mb.matmul(x=x, y=WEIGHT.numpy(), transpose_y=True), lambda x: x @ WEIGHT.T),
    "matmul of columns": (lambda x: mb.matmul(x=x, y=x, transpose_x=True), lambda x: x.T @ x),
    "layer_norm": (
        lambda x: mb.layer_norm(x=x, axes=[-1], gamma=GAMMA.numpy(), beta=BETA.numpy(), epsilon=np.float32(1e-5)),
        lambda x: F.layer_norm(x, (8,), GAMMA, BETA),
    ),
    "gelu": (lambda x: mb.gelu(x=x, mode="EXACT"), F.gelu),
    "sigmoid": (lambda x: mb.sigmoid(x=x), torch.sigmoid),
    "tanh": (lambda x: mb.tanh(x=x), torch.tanh),
    "softmax": (lambda x: mb.softmax(x=x, axis=-1), lambda x: x.softmax(dim=-1)),
    "softmax of columns": (lambda x: mb.softmax(x=x, axis=0), lambda x: x.softmax(dim=0)),
    "reduce_l2_norm": (
        lambda x: mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True),
        lambda x: x.norm(dim=-1, keepdim=True),
    ),
    "concat": (lambda x: mb.concat(values=[x, x], axis=-1), lambda x: torch.cat((x, x), dim=-1)),
    "split by sizes": (lambda x: mb.split(x=x, split_sizes=[2, 5, 1], axis=-1), lambda x: x.split([2, 5, 1], dim=-1)),
    "split by number": (lambda x: mb.split(x=x, num_splits=2, axis=-1), lambda x: x.chunk(2, dim=-1)),
    "gather": (lambda x: mb.gather(x=x, indices=np.array([2], np.int32), axis=0), lambda x: x[[2]]),
    "slice_by_index": (lambda x: mb.slice_by_index(x=x, begin=[1, 2], end=[3, 8]), lambda x: x[1:3, 2:8]),
    "slice_by_index to the end": (
        lambda x: mb.slice_by_index(x=x, begin=[-1, 2], end=[0, 0], end_mask=[True, True], squeeze_mask=[True, False]),
        lambda x: x[-1, 2:],
    ),
    "topk": (lambda x: mb.topk(x=x, k=3, axis=-1)[0], lambda x: x.topk(3).values),
    "int8 matrix": (
        lambda x: mb.matmul(x=x, y=mb.constexpr_blockwise_shift_scale(data=CODES.numpy(), scale=SCALES.numpy())),
        lambda x: x @ (CODES * SCALES),
    ),
    "palettized matrix": (
        lambda x: mb.matmul(x=x, y=mb.constexpr_lut_to_dense(indices=INDICES, lut=PALETTES.reshape(2, 1, 16, 1))),
        lambda x: x @ torch.cat([torch.from_numpy(PALETTES[g][INDICES[4 * g : 4 * g + 4]]) for g in (0, 1)]),
    ),
    "squeeze": (lambda x: mb.squeeze(x=mb.slice_by_index(x=x, begin=[2, 0], end=[3, 8]), axes=[0]), lambda x: x[2]),
    "reduce_mean": (lambda x: mb.reduce_mean(x=x, axes=[0], keep_dims=True), lambda x: x.mean(dim=0, keepdim=True)),
    "pow": (lambda x: mb.pow(x=GAMMA.numpy(), y=x), lambda x: GAMMA**x),
    "pad": (lambda x: mb.pad(x=x, pad=[0, 0, 0, 3], constant_val=np.float32(0)), lambda x: F.pad(x, (0, 3))),
    "relu": (lambda x: mb.relu(x=x), torch.relu),
    "reshape": (lambda x: mb.reshape(x=x, shape=[2, -1, 4]), lambda x: x.reshape(2, -1, 4)),
    "transpose": (lambda x: mb.transpose(x=x, perm=[1, 0]), lambda x: x.T),
    "expand_dims": (lambda x: mb.expand_dims(x=x, axes=[1]), lambda x: x[:, None]),
    "band_part": (lambda x: mb.band_part(x=x, lower=-1, upper=0), torch.tril),
    "range_1d": (
        lambda x: mb.mul(x=x, y=mb.cast(x=mb.range_1d(start=1, end=9, step=1), dtype="fp32")),
        lambda x: x * torch.arange(1, 9),
    ),
    "shape": (
        lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=mb.sub(x=mb.shape(x=x), y=np.array([1, 3], np.int32))),
        lambda x: x[:2, :5],
    ),
    "greater": (lambda x: mb.cast(x=mb.greater(x=x, y=GAMMA.numpy()), dtype="fp32"), lambda x: (x > GAMMA).float()),
    "greater_equal": (
        lambda x: mb.cast(x=mb.greater_equal(x=x, y=x), dtype="fp32"),
        lambda x: torch.ones_like(x),
    ),
    "equal": (
        lambda x: mb.cast(x=mb.equal(x=mb.relu(x=x), y=np.float32(0.0)), dtype="fp32"),
        lambda x: (x <= 0).float(),
    ),
    "fill": (lambda x: mb.add(x=x, y=mb.fill(shape=[3, 8], value=0.25)), lambda x: x + 0.25),
    "while_loop": (count_down, lambda x: 16 * x),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_agree_with_torch(name: str, tmp_path: Path) -> None:
    body, reference = OPERATIONS[name]
    x = 3 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    outputs = saved_program(tmp_path, body).run("f", {"x": x.numpy()})
    expected = reference(x)
    expected = expected if isinstance(expected, (list, tuple)) else [expected]
    assert len(outputs) == len(expected)
    for index, tensor in enumerate(expected):
        assert outputs[f"y{index}"].dtype == np.float32
        np.testing.assert_allclose(outputs[f"y{index}"], tensor.numpy(), rtol=2e-6, atol=1e-6)


def test_float16_rounds_after_every_operation(tmp_path: Path, rng: np.random.Generator) -> None:
    x = rng.standard_normal((3, 8)).astype(np.float32)
    half = np.float16
    saved = saved_program(tmp_path, lambda x: mb.mul(x=mb.add(x=mb.cast(x=x, dtype="fp16"), y=half(0.1)), y=half(3.0)))
    expected = (x.astype(half) + half(0.1)) * half(3.0)  # numpy rounds after each of the three, too
    np.testing.assert_array_equal(saved.run("f", {"x": x})["y0"], expected.astype(np.float32))
    assert not np.array_equal(expected, ((x + 0.1) * 3.0).astype(half))


def test_float16_overflows_to_infinity(tmp_path: Path) -> None:
    saved = saved_program(tmp_path, lambda x: mb.mul(x=mb.cast(x=x, dtype="fp16"), y=np.float16(2.0)))
    assert np.isposinf(saved.run("f", {"x": np.full((3, 8), 40_000.0, np.float32)})["y0"]).all()


def test_state_is_kept_between_calls_in_float16(tmp_path: Path) -> None:
    def accumulate(x: Any, total: Any) -> Any:
        return mb.coreml_update_state(
            state=total, value=mb.add(x=mb.read_state(input=total), y=mb.cast(x=x, dtype="fp16"))
        )

    saved = saved_program(tmp_path, accumulate, (1, 2), total=mb.state_tensor_placeholder((1, 2), types.fp16))
    state = saved.new_state("f")
    assert {name: (array.dtype, array.tolist()) for name, array in state.items()} == {
        "total": (np.float16, [[0.0, 0.0]])
    }
    x = np.array([[0.1, 2048.0]], np.float32)
    for _ in range(2):
        outputs = saved.run("f", {"x": x}, state)
    expected = x.astype(np.float16) + x.astype(np.float16)
    np.testing.assert_array_equal(state["total"], expected)
    np.testing.assert_array_equal(outputs["y0"], expected.astype(np.float32))
    np.testing.assert_array_equal(saved.run("f", {"x": x}, saved.new_state("f"))["y0"], x.astype(np.float16))


def test_operations_that_are_not_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="function 'f' uses operation 'erf', unknown here"):
        saved_program(tmp_path, lambda x: mb.erf(x=x))


def test_unknown_operations_are_found_inside_loops(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.while_loop(
            _cond=lambda y: mb.less(x=mb.reduce_l2_norm(x=y, axes=[0, 1]), y=np.float32(0.0)),
            _body=lambda y: mb.erf(x=y),
            loop_vars=(x,),
        )

    with pytest.raises(ValueError, match="operation 'erf', unknown here"):
        saved_program(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"), "gelu of mode TANH_APPROXIMATION"),
        (lambda x: mb.cast(x=mb.cast(x=x, dtype="int32"), dtype="fp32"), "cast to int32"),
        (lambda x: mb.concat(values=[x, x], axis=0, interleave=True), "concat with interleave"),
        (lambda x: mb.band_part(x=x, lower=0, upper=0), "band_part other than the lower triangle"),
        (lambda x: mb.topk(x=x, k=1, axis=-1, ascending=True)[0], "topk that does not sort, or sorts upwards"),
    ],
)
def test_unknown_variants_of_operations_are_refused(tmp_path: Path, body: Body, message: str) -> None:
    saved = saved_program(tmp_path, body)
    with pytest.raises(ValueError, match=message):
        saved.run("f", {"x": np.ones((3, 8), np.float32)})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            lambda x: mb.slice_by_index(x=x, begin=[0, 0], end=[3, 8], stride=[2, 1]),
            "operation 'slice_by_index': got an unexpected keyword argument 'stride'; expected it as lvm_fast writes",
        ),
        (
            lambda x: mb.layer_norm(x=x, axes=[-1], gamma=GAMMA.numpy()),
            "operation 'layer_norm': missing a required argument: 'beta'",
        ),
    ],
)
def test_unknown_and_missing_parameters_are_named(tmp_path: Path, body: Body, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saved_program(tmp_path, body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            lambda x: mb.constexpr_blockwise_shift_scale(
                data=CODES.numpy(), scale=SCALES.numpy(), offset=np.ones((8, 1), np.int8)
            ),
            r"constexpr_blockwise_shift_scale of data \(8, 5\), scale \(8, 1\), offset \(8, 1\), unknown here",
        ),
        (
            lambda x: mb.constexpr_blockwise_shift_scale(data=CODES.numpy(), scale=np.ones((1, 5), np.float32)),
            r"scale \(1, 5\), unknown here; expected a scale for each row",
        ),
        (
            lambda x: mb.constexpr_lut_to_dense(indices=INDICES, lut=np.ones((1, 5, 16, 1), np.float32)),
            r"constexpr_lut_to_dense of indices \(8, 5\), lut \(1, 5, 16, 1\), unknown here",
        ),
    ],
)
def test_compressed_matrices_that_we_do_not_write_are_refused(tmp_path: Path, body: Body, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        saved_program(tmp_path, lambda x: mb.matmul(x=x, y=body(x)))


def test_ids_of_topk_are_integers_and_ties_go_to_the_lower_one(tmp_path: Path) -> None:
    saved = saved_program(tmp_path, lambda x: mb.topk(x=x, k=3, axis=-1), (1, 5))
    outputs = saved.run("f", {"x": np.array([[1.0, 3.0, 2.0, 3.0, 3.0]], np.float32)})
    assert outputs["y1"].dtype == np.int32
    assert outputs["y1"].tolist() == [[1, 3, 4]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, r"f: input 'x' is nothing; expected shape \(3, 8\)"),
        ({"x": np.zeros((8, 3), np.float32)}, r"f: input 'x' is \(8, 3\); expected shape \(3, 8\)"),
    ],
)
def test_inputs_must_be_the_declared_ones(tmp_path: Path, inputs: dict[str, Any], message: str) -> None:
    saved = saved_program(tmp_path, lambda x: mb.tanh(x=x))
    with pytest.raises(ValueError, match=message):
        saved.run("f", inputs)


def test_any_size_fits_where_none_is_declared(tmp_path: Path) -> None:
    saved = saved_program(tmp_path, lambda x: mb.mul(x=x, y=np.float32(2.0)), (get_new_symbol(), 8))
    assert saved.input_shapes("f") == {"x": (None, 8)}
    for rows in (1, 5):
        np.testing.assert_array_equal(
            saved.run("f", {"x": np.ones((rows, 8), np.float32)})["y0"], np.full((rows, 8), 2.0)
        )
    with pytest.raises(ValueError, match=r"f: input 'x' is \(5, 7\); expected shape \(None, 8\)"):
        saved.run("f", {"x": np.ones((5, 7), np.float32)})


def test_operations_of_a_loop_count_once_and_constants_not_at_all(tmp_path: Path) -> None:
    saved = saved_program(tmp_path, count_down)
    assert saved.count_operations("f") == 5  # the loop, less, sub, add, and the output's identity


def test_weights_are_the_float_arrays_as_stored(tmp_path: Path) -> None:
    weight = WEIGHT.numpy().astype(np.float16)
    saved = saved_program(
        tmp_path,
        lambda x: mb.matmul(x=mb.cast(x=x, dtype="fp16"), y=mb.const(val=weight, name="weight"), transpose_y=True),
    )
    ((name, stored),) = saved.weights("f").items()
    assert (name, stored.dtype) == ("weight", np.float16)
    np.testing.assert_array_equal(stored, weight)


@pytest.mark.parametrize("part", ["weights/weight.bin", "model.mlmodel"])
@pytest.mark.parametrize("kept", [0, 100])
def test_a_truncated_package_is_refused(tmp_path: Path, part: str, kept: int) -> None:
    saved_program(tmp_path, lambda x: mb.linear(x=x, weight=WEIGHT.numpy(), bias=BIAS.numpy()))
    package = tmp_path / "program.mlpackage"
    file = package / "Data/com.apple.CoreML" / part
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ValueError, match="not a readable ML program package"):
        SavedProgram(package)


def test_a_missing_package_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Core ML package at"):
        SavedProgram(tmp_path / "nothing.mlpackage")

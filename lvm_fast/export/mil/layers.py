"""Adds layers to the MIL function being built: each call returns the variable of its output."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..compression import Stored, compress
from ..coremltools_compat import is_symbolic, mb, types
from .constants import write_constant

Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]
Variable: TypeAlias = Any  # a MIL variable; coremltools has no type stubs

MIL_TYPES = {"float16": types.fp16, "float32": types.fp32}


class Layers:
    """Adds layers of one precision, with constants from one set of arrays.

    A constant is stored once in a package, however many functions and loop bodies use it.

    Args:
        arrays: The constants by name, float32.
        precision: "float16" or "float32": the dtype of constants and of every layer's input and output.
        compression: How the matrices of products are stored: None, "int8", "palette6" or "palette4".
        scope: A prefix for the names of the constants in the package.
        float32_names: The arrays that are stored in float32 whatever the precision.

    Raises:
        ValueError: An array holds NaN, infinity or a number beyond the precision.
    """

    def __init__(
        self,
        arrays: Arrays,
        precision: str,
        compression: str | None = None,
        scope: str = "",
        float32_names: Collection[str] = (),
    ) -> None:
        self._arrays = arrays
        self.precision = precision
        self._float32_names = frozenset(float32_names)
        for name, array in arrays.items():
            largest, dtype = np.abs(array).max(), self._dtype_of(name)
            if not largest <= np.finfo(dtype).max:
                raise ValueError(f"export_coreml: {name} holds {largest:g}; expected at most the largest {dtype}")
        self._compression = compression
        self._scope = scope
        self._matrices: dict[str, Stored] = {}

    @property
    def constants(self) -> Arrays:
        """All arrays by their names in the package, float32 and uncompressed."""
        return {self._scope + name: array for name, array in self._arrays.items()}

    @property
    def float32_names(self) -> frozenset[str]:
        """The names in the package of the arrays that are stored in float32 whatever the precision."""
        return frozenset(self._scope + name for name in self._float32_names)

    def has(self, name: str) -> bool:
        """Tell whether there is an array called `name`."""
        return name in self._arrays

    def constant(self, name: str) -> Variable:
        """Add the array called `name`, in the precision, or in float32 if it always has that; once a block."""
        return write_constant(self._arrays[name].astype(self._dtype_of(name)), self._scope + name)

    def matrix(self, name: str, instead: str | None = None) -> Variable:
        """Add the matrix called `name`; once a block.

        Args:
            name: Of the array.
            instead: The compression to use in place of the one that was asked, if one was.
        """
        if name not in self._matrices:
            compression = self._compression and (instead or self._compression)
            self._matrices[name] = compress(self._arrays[name], compression, self.precision)
        return write_constant(self._matrices[name], self._scope + name)

    def _dtype_of(self, name: str) -> str:
        return "float32" if name in self._float32_names else self.precision

    def to_precision(self, x: Variable) -> Variable:
        """Cast `x` to the precision of the layers."""
        return cast(x, self.precision)

    def linear(self, x: Variable, weight: str, bias: str) -> Variable:
        """Compute ``x W^T + b`` for the named constants."""
        return mb.linear(x=x, weight=self.matrix(weight), bias=self.constant(bias))

    def product(self, x: Variable, weight: str) -> Variable:
        """Compute ``x W^T`` for the named matrix."""
        return mb.matmul(x=x, y=self.matrix(weight), transpose_y=True)

    def dense(self, x: Variable, prefix: str) -> Variable:
        """Apply the `torch.nn.Linear` called `prefix`."""
        return self.linear(x, f"{prefix}.weight", f"{prefix}.bias")

    def layer_norm(self, x: Variable, prefix: str) -> Variable:
        """Apply LayerNorm over the last axis, with torch's epsilon."""
        gamma, beta = self.constant(f"{prefix}.weight"), self.constant(f"{prefix}.bias")
        return mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=np.dtype(self.precision).type(1e-5))


def cast(x: Variable, precision: str) -> Variable:
    """Cast `x` to "float16" or "float32"; `x` itself where it has that type already."""
    wanted = MIL_TYPES[precision]
    return x if x.dtype == wanted else mb.cast(x=x, dtype=types.builtin_to_string(wanted))


def last_row(x: Variable) -> Variable:
    """Take the last step of each sequence, (B, N, D) -> (B, D)."""
    masks = {"end_mask": [True] * 3, "squeeze_mask": [False, True, False]}
    return mb.slice_by_index(x=x, begin=[0, -1, 0], end=[0, 0, 0], **masks)


def first_numbers(x: Variable, width: int) -> Variable:
    """Take the first numbers of each row, (..., W) -> (..., width); `x` itself where it has no more."""
    *others, whole = x.shape
    return x if width == whole else mb.slice_by_index(x=x, begin=[0] * x.rank, end=[*others, width])


def padded(x: Variable, width: int) -> Variable:
    """Add zeros at the end of each row, (..., W) -> (..., width); return `x` itself where it needs none."""
    more = width - x.shape[-1]
    zero = np.float16(0) if x.dtype == types.fp16 else np.float32(0)
    return x if not more else mb.pad(x=x, pad=[*[0] * (2 * x.rank - 1), more], mode="constant", constant_val=zero)


def length_of(x: Variable) -> Variable:
    """Return the number of steps of sequences (B, N, D), int32 (1,); N may be any number."""
    steps = x.shape[1]
    if is_symbolic(steps):
        return mb.slice_by_index(x=mb.shape(x=x), begin=[1], end=[2])
    return mb.const(val=np.array([steps], np.int32))


def gelu(x: Variable) -> Variable:
    """Multiply x by the normal distribution function of x, as torch does."""
    return mb.gelu(x=x, mode="EXACT")


def norm(x: Variable) -> Variable:
    """Compute the lengths of row vectors, (B, D) -> (B, 1)."""
    return mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True)


def unit(x: Variable) -> Variable:
    """Apply `torch.nn.functional.normalize`: x / max(||x||, 1e-12), in float32 since that bound is zero in float16."""
    x = cast(x, "float32")
    return mb.real_div(x=x, y=mb.maximum(x=norm(x), y=np.float32(1e-12)))

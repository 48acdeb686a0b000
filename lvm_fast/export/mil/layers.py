"""Layers as MIL operations: each call adds to the function being built and returns its output variable."""

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
    """Layers that compute in one precision and draw their constants from one set of arrays.

    A constant is stored once in a package, however many functions and loop bodies use it.

    Args:
        arrays: The constants by name, float32.
        precision: "float16" or "float32": the dtype of constants and of every layer's input and output.
        compression: How the matrices of products are stored: None, "int8", "palette6" or "palette4".
        scope: What comes before the names of constants in the package.
        wide: The names of arrays that are held in float32 whatever the precision.

    Raises:
        ValueError: An array is NaN or infinite, or holds a number that the precision cannot.
    """

    def __init__(
        self,
        arrays: Arrays,
        precision: str,
        compression: str | None = None,
        scope: str = "",
        wide: Collection[str] = (),
    ) -> None:
        self._arrays = arrays
        self.precision = precision
        self._wide = frozenset(wide)
        for name, array in arrays.items():
            largest, held_in = np.abs(array).max(), self._held_in(name)
            if not largest <= np.finfo(held_in).max:
                raise ValueError(f"export_coreml: {name} holds {largest:g}; expected at most the largest {held_in}")
        self._compression = compression
        self._scope = scope
        self._matrices: dict[str, Stored] = {}

    @property
    def constants(self) -> Arrays:
        """All arrays by their names in the package, before precision and compression."""
        return {self._scope + name: array for name, array in self._arrays.items()}

    @property
    def wide(self) -> frozenset[str]:
        """The names in the package of the arrays that are held in float32 whatever the precision."""
        return frozenset(self._scope + name for name in self._wide)

    def has(self, name: str) -> bool:
        """Whether there is an array called `name`."""
        return name in self._arrays

    def constant(self, name: str) -> Variable:
        """The array called `name`, in the precision, or in float32 if it is wide; call it once a block."""
        return write_constant(self._arrays[name].astype(self._held_in(name)), self._scope + name)

    def matrix(self, name: str, most: str | None = None) -> Variable:
        """The matrix called `name`, compressed if that was asked, by `most` where it is given; call it once a block."""
        if name not in self._matrices:
            compression = self._compression and (most or self._compression)
            self._matrices[name] = compress(self._arrays[name], compression, self.precision)
        return write_constant(self._matrices[name], self._scope + name)

    def _held_in(self, name: str) -> str:
        return "float32" if name in self._wide else self.precision

    def narrow(self, x: Variable) -> Variable:
        """`x` in the precision of the layers."""
        return cast(x, self.precision)

    def linear(self, x: Variable, weight: str, bias: str) -> Variable:
        """``x W^T + b`` for the named constants."""
        return mb.linear(x=x, weight=self.matrix(weight), bias=self.constant(bias))

    def product(self, x: Variable, weight: str) -> Variable:
        """``x W^T`` for the named matrix."""
        return mb.matmul(x=x, y=self.matrix(weight), transpose_y=True)

    def dense(self, x: Variable, prefix: str) -> Variable:
        """`torch.nn.Linear` called `prefix`."""
        return self.linear(x, f"{prefix}.weight", f"{prefix}.bias")

    def layer_norm(self, x: Variable, prefix: str) -> Variable:
        """LayerNorm over the last axis, with torch's epsilon."""
        gamma, beta = self.constant(f"{prefix}.weight"), self.constant(f"{prefix}.bias")
        return mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=beta, epsilon=np.dtype(self.precision).type(1e-5))


def cast(x: Variable, precision: str) -> Variable:
    """`x` as "float16" or "float32"; itself where it is that already."""
    wanted = MIL_TYPES[precision]
    return x if x.dtype == wanted else mb.cast(x=x, dtype=types.builtin_to_string(wanted))


def last_row(x: Variable) -> Variable:
    """The last step of each sequence, (B, N, D) -> (B, D)."""
    masks = {"end_mask": [True] * 3, "squeeze_mask": [False, True, False]}
    return mb.slice_by_index(x=x, begin=[0, -1, 0], end=[0, 0, 0], **masks)


def length_of(x: Variable) -> Variable:
    """The number of steps of sequences (B, N, D), int32 (1,), also where any number will do."""
    steps = x.shape[1]
    if is_symbolic(steps):
        return mb.slice_by_index(x=mb.shape(x=x), begin=[1], end=[2])
    return mb.const(val=np.array([steps], np.int32))


def gelu(x: Variable) -> Variable:
    """x times the normal distribution function of x, as torch has it."""
    return mb.gelu(x=x, mode="EXACT")


def norm(x: Variable) -> Variable:
    """Lengths of row vectors (B, D) -> (B, 1)."""
    return mb.reduce_l2_norm(x=x, axes=[-1], keep_dims=True)


def unit(x: Variable) -> Variable:
    """`torch.nn.functional.normalize`: x / max(||x||, 1e-12), in float32 since that bound is zero in float16."""
    wide = cast(x, "float32")
    return mb.real_div(x=wide, y=mb.maximum(x=norm(wide), y=np.float32(1e-12)))

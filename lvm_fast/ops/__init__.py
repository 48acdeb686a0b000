"""Kernels, one file each: its torch operator, its checks, and a naive twin in plain torch.

`l2_normalize` and `reconstruct` take numpy arrays and torch tensors; `num_threads`, `simd_level` and their setters are
the settings of the compute core. `define_operators` defines all torch operators at once.
"""

from .registry import define_operators
from .rowwise import l2_normalize, reconstruct
from .runtime import num_threads, set_num_threads, set_simd_level, simd_level, simd_levels

__all__ = [
    "define_operators",
    "l2_normalize",
    "num_threads",
    "reconstruct",
    "set_num_threads",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]

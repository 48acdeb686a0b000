"""Kernels, one file each: its torch operator, its checks, and a naive twin in plain torch.

`l2_normalize` and `reconstruct` take numpy arrays and torch tensors; `num_threads`, `simd_level` and their setters are
the settings of the compute core.
"""

from .rowwise import l2_normalize, reconstruct
from .runtime import num_threads, set_num_threads, set_simd_level, simd_level, simd_levels

__all__ = [
    "l2_normalize",
    "num_threads",
    "reconstruct",
    "set_num_threads",
    "set_simd_level",
    "simd_level",
    "simd_levels",
]

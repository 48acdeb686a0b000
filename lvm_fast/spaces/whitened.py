"""whitened: vectors without their mean, with every direction brought to nearly the same variance."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .moments import Moments

_FLOOR = 0.02  # part of the mean variance that every direction has at least: few rows know little of most directions


class Whitened:
    """``unit(A (unit(x) - mean))`` with a whitening matrix A."""

    has_matrix = True

    @staticmethod
    def matrix(moments: Moments, strength: float) -> NDArray[np.float64]:
        """Return A (D, D), symmetric, scaled to a mean eigenvalue of 1.

        With eigenvalues w and eigenvectors E of the covariance, ``A = E diag((w + 0.02 mean(w))^(-strength / 2)) E^T``:
        ZCA whitening (Bell and Sejnowski 1997, doi:10.1016/S0042-6989(97)00121-1), softened by the strength. The floor
        shrinks what few rows tell of the covariance towards the identity.
        """
        values, vectors = np.linalg.eigh(moments.covariance)
        values = np.maximum(values, 0.0)
        scales = (values + _FLOOR * values.mean()) ** (-strength / 2)
        matrix: NDArray[np.float64] = (vectors * (scales / scales.mean())) @ vectors.T
        return matrix

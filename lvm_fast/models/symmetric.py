"""The matrix of a whitened space is symmetric: in a file its upper half is enough."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE, UPPER = "space.matrix", "space.upper"


def folded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with the matrix (D, D) as the rows of its upper half, one after the other (D (D + 1) / 2,).

    Raises:
        ValueError: It is not symmetric.
    """
    matrix = state[WHOLE]
    if not torch.equal(matrix, matrix.T):
        raise ValueError(f"{WHOLE} is not symmetric; expected the matrix of a whitened space")
    rows, columns = torch.triu_indices(*matrix.shape)
    return {**{name: tensor for name, tensor in state.items() if name != WHOLE}, UPPER: matrix[rows, columns]}


def unfolded(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a file with the whole matrix, where there is its upper half; else as they are.

    Raises:
        ValueError: There are not as many numbers as a half has.
    """
    if UPPER not in state:
        return state
    upper = state[UPPER]
    dim = int(((8 * upper.numel() + 1) ** 0.5 - 1) / 2)
    if upper.dim() != 1 or dim * (dim + 1) // 2 != upper.numel():
        raise ValueError(f"{UPPER} has shape {tuple(upper.shape)}; expected (D (D + 1) / 2,)")
    rows, columns = torch.triu_indices(dim, dim)
    matrix = upper.new_empty(dim, dim)
    matrix[rows, columns] = upper
    matrix[columns, rows] = upper
    return {**{name: tensor for name, tensor in state.items() if name != UPPER}, WHOLE: matrix}

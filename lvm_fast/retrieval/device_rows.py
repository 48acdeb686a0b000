"""Rows on a device: as they are scored, and as operands of quick products with bounds of what those leave out."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .._core import Rows

_LANES = 32  # partial sums of the documented order: csrc/retrieval/screen.h
_MOST_EXPONENT = 60  # beyond 2^60, or below 2^-60, a row is not screened: all its scores are exact ones
_LEAVE_FLOAT64 = 2.0**-20  # covers the roundings of a bound that is computed in float64 and kept in float32


class Place(NamedTuple):
    """Where a bank works, and how.

    Attributes:
        device: Where the rows lie and are screened.
        exact: Where float64 is: the same device, or the CPU beside one that has none.
        products: The dtype in which rows are multiplied.
        numbers_at_once: How many scores, or numbers of rows, are in work at a time.
    """

    device: torch.device
    exact: torch.device
    products: torch.dtype
    numbers_at_once: int

    @classmethod
    def of(cls, device: torch.device) -> Place:
        """Return the way to work on a device: half precision, whose products GPUs have units for."""
        exact = torch.device("cpu") if device.type == "mps" else device
        return cls(device, exact, torch.float16, 1 << 24)


class ScreenedRows(NamedTuple):
    """Rows of a bank or a block of queries, (n, D).

    A row is 2^exponent times a row of norm 0.5 to 1 (or 0), which `codes` holds rounded to the products' dtype. Rows
    beyond the exponents have a norm of infinity and scale 0: nothing is known of their scores.

    Attributes:
        scored: (n, D) float32, float16 or bfloat16: the numbers whose float64 inner products are the scores.
        codes: (n, D) in the products' dtype.
        scale: (n,) float32: 2^exponent.
        norm: (n,) float32: an upper bound of the row's norm.
        rest: (n,) float64: norm of what `codes` leaves out, as a part of the row's norm; on `Place.exact`.
        exponent: (n,) int32, on `Place.exact`.
        half_square: (n,) float32: half the row's squared norm; 0 beyond the exponents.
    """

    scored: Tensor
    codes: Tensor
    scale: Tensor
    norm: Tensor
    rest: Tensor
    exponent: Tensor
    half_square: Tensor


def screened_rows(rows: Rows, normalize: bool, place: Place, called: str) -> ScreenedRows:
    """Bring rows to a device. Raises ValueError for the first with NaN or infinity, or of zeros with `normalize`."""
    count, dim = rows.rows, rows.dim
    dtype = torch.float32 if normalize else _stored(rows, 0, 0).dtype
    held = ScreenedRows(
        scored=torch.empty(count, dim, dtype=dtype, device=place.device),
        codes=torch.empty(count, dim, dtype=place.products, device=place.device),
        scale=torch.empty(count, dtype=torch.float32, device=place.device),
        norm=torch.empty(count, dtype=torch.float32, device=place.device),
        rest=torch.empty(count, dtype=torch.float64, device=place.exact),
        exponent=torch.empty(count, dtype=torch.int32, device=place.exact),
        half_square=torch.empty(count, dtype=torch.float32, device=place.device),
    )
    step = max(1, place.numbers_at_once // dim)
    for first in range(0, count, step):
        stored = _stored(rows, first, first + step).to(place.exact)
        for whole, part in zip(held, _screened_block(stored, normalize, place, called, first), strict=True):
            whole[first : first + step] = part
    return held


def scored_rows(rows: Rows, normalize: bool, place: Place) -> Tensor:
    """Return the float32 numbers whose inner products are the scores, (n, D), on `place.exact`; nothing is checked."""
    wide = _stored(rows, 0, rows.rows).to(place.exact).float()
    return _unit(wide, ordered_dot(wide, wide).sqrt()) if normalize else wide


def ordered_dot(a: Tensor, b: Tensor) -> Tensor:
    """Return THE score of pairs of float32 rows (P, D): (P,) float64, summed as `csrc/retrieval/screen.h` says."""
    return _ordered_sum(a.double() * b.double())  # products are exact in float64


def ordered_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return THE squared distance of pairs of float32 rows (P, D): (P,) float64."""
    return _ordered_sum((a.double() - b.double()).square())


def _ordered_sum(terms: Tensor) -> Tensor:
    """Sum (P, D) float64 in the documented order: (P,)."""
    padded = functional.pad(terms, (0, -terms.shape[1] % _LANES)).view(len(terms), -1, _LANES)
    sums = torch.zeros(len(terms), _LANES, dtype=torch.float64, device=terms.device)
    for step in range(padded.shape[1]):
        sums += padded[:, step]
    half = _LANES // 2
    while half:
        sums = sums[:, :half] + sums[:, half : 2 * half]
        half //= 2
    return sums[:, 0]


def power_of_two(exponent: Tensor) -> Tensor:
    """Return 2^exponent in float64, exactly, from -1022 to 1023."""
    return ((exponent.long() + 1023) << 52).view(torch.float64)


def rounded(scaled: Tensor, products: torch.dtype) -> tuple[Tensor, Tensor]:
    """Round float64 rows (n, D) of norm 1 at most to a dtype: the codes, and the norms (n,) of what they leave out."""
    codes = scaled.to(products)
    codes[codes.abs() < torch.finfo(products).tiny] = 0  # some devices would flush it
    return codes, (scaled - codes.double()).square().sum(1).sqrt()


def _screened_block(scored: Tensor, normalize: bool, place: Place, called: str, first: int) -> ScreenedRows:
    if normalize:
        given = scored.float()
        norm = ordered_dot(given, given).sqrt()
        _check(norm, normalize, called, first)
        scored = _unit(given, norm)
    wide = scored.double()
    length = wide.square().sum(1).sqrt()
    _check(length, normalize, called, first)
    exponent = torch.frexp(length).exponent
    is_odd = exponent.abs() > _MOST_EXPONENT
    scaled = wide * power_of_two(-exponent)[:, None]
    codes, rest = rounded(scaled, place.products)
    share = rest / torch.where(length > 0, scaled.square().sum(1).sqrt(), 1)
    return ScreenedRows(
        scored,
        codes,
        torch.where(is_odd, 0, power_of_two(exponent)).float(),
        torch.where(is_odd, torch.inf, length * (1 + _LEAVE_FLOAT64)).float(),
        torch.where(is_odd, 0, share),
        exponent,
        torch.where(is_odd, 0, length.square() / 2).float(),
    )


def _unit(rows: Tensor, length: Tensor) -> Tensor:
    """Return float32 rows divided by their norm as the core does it: times 1 / norm in float64, rounded once."""
    return (rows.double() * (1 / length)[:, None]).float()


def _check(length: Tensor, normalize: bool, called: str, first: int) -> None:
    is_bad = ~length.isfinite() | ((length == 0) & normalize)
    if not is_bad.any():
        return
    row = int(is_bad.nonzero()[0, 0])
    problem = "holds NaN or infinity; expected finite numbers"
    if length[row] == 0:
        problem = "is all zeros; expected a direction, as normalize=True needs"
    raise ValueError(f"{called}: row {first + row} {problem}")


def _stored(rows: Rows, first: int, last: int) -> Tensor:
    """Return rows on the CPU in the dtype that they are stored in, int8 ones times their scales in float32."""
    memory: Any = rows.memory[first:last]
    if isinstance(memory, Tensor):
        return memory.detach()
    block = np.array(memory)  # it may be read-only, which torch does not know
    if block.dtype.itemsize == 2 and block.dtype != np.float16:
        return torch.from_numpy(block.view(np.int16)).view(torch.bfloat16)
    tensor = torch.from_numpy(block)
    if tensor.dtype != torch.int8:
        return tensor
    return tensor.float() * torch.from_numpy(np.array(rows.scales[first:last]))[:, None]

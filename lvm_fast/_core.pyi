"""
The compute core of lvm_fast. Use it through lvm_fast.ops, lvm_fast.layers and lvm_fast.retrieval.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
__all__: list[str] = ['Bank', 'MemoryGru', 'MemoryGruStream', 'Rows', 'dropout', 'fingerprint', 'gru_backward', 'gru_forward', 'gru_half_backward', 'gru_half_forward', 'has_half_gru', 'normalize_rows', 'normalize_rows_backward', 'num_threads', 'set_num_threads', 'set_simd_level', 'simd_level', 'simd_levels']
class Rows:
    """
    A read-only (rows, dim) matrix at an address; row i starts i * stride elements after it. Does not keep the memory alive: the caller does. int8 rows need `scales`, the address of one float32 a row.
    """
    def __init__(self, address: typing.SupportsInt | typing.SupportsIndex, dtype: str, rows: typing.SupportsInt | typing.SupportsIndex, dim: typing.SupportsInt | typing.SupportsIndex, stride: typing.SupportsInt | typing.SupportsIndex, scales: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    @property
    def dim(self) -> int:
        ...
    @property
    def rows(self) -> int:
        ...
class MemoryGru:
    """
    A packed memory GRU; see csrc/recurrent/memory_gru.h and lvm_fast.inference.packed.
    """
    def __init__(self, *, weights: str, layers: collections.abc.Sequence[typing.Annotated[collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], "FixedSize(4)"]], input_norm: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], input_epsilon: typing.SupportsFloat | typing.SupportsIndex, keys: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], contents: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], fusion_norm: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], fusion_epsilon: typing.SupportsFloat | typing.SupportsIndex, widen: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], narrow: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], unit_delta: bool) -> None:
        ...
class MemoryGruStream:
    """
    The hidden states of B sequences in a packed memory GRU.
    """
    def __init__(self, model: MemoryGru, batch: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def advance(self, context: typing.Annotated[numpy.typing.ArrayLike, numpy.float32]) -> numpy.typing.NDArray[numpy.float32] | None:
        """
        Take the steps of context (N, B, D), float32, and predict the unit vectors (B, D) that come next. None if a number of either is NaN or infinite; the states moved on only if it is a prediction's.
        """
    def copy(self) -> MemoryGruStream:
        """
        Another stream that goes on from here, with the same model.
        """
    def reset(self) -> None:
        ...
class Bank:
    """
    Exact scoring over rows that the caller keeps alive; see lvm_fast.retrieval.bank.VectorBank.
    """
    @staticmethod
    def open(rows: Rows, coarse: typing.Annotated[numpy.typing.ArrayLike, numpy.int8], fine: typing.Annotated[numpy.typing.ArrayLike, numpy.int8], bounds: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], factors: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None) -> Bank:
        ...
    def __init__(self, rows: Rows, normalize: bool) -> None:
        ...
    def band(self, queries: Rows, low: typing.SupportsFloat | typing.SupportsIndex, high: typing.SupportsFloat | typing.SupportsIndex, limit: typing.SupportsInt | typing.SupportsIndex, exclude: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None, below: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.int64]]:
        ...
    def packed(self) -> dict[str, numpy.ndarray]:
        ...
    def pair_scores(self, queries: Rows, ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def rank(self, queries: Rows, scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], first_id: typing.SupportsInt | typing.SupportsIndex, max_rank: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[numpy.int64]:
        ...
    def refill(self, rows: Rows) -> None:
        ...
    def sum_exp(self, queries: Rows, factor: typing.SupportsFloat | typing.SupportsIndex, best: typing.Annotated[numpy.typing.ArrayLike, numpy.float64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def take_tally(self) -> tuple[int, int, int]:
        """
        Pairs screened, refined and rescored since the last call.
        """
    def topk(self, queries: Rows, k: typing.SupportsInt | typing.SupportsIndex) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.int64]]:
        ...
def dropout(x: typing.SupportsInt | typing.SupportsIndex, is_half: bool, count: typing.SupportsInt | typing.SupportsIndex, share: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, out: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    See csrc/rowwise/dropout.h.
    """
def fingerprint(memory: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex]]) -> int:
    """
    64 bits over the bytes at these addresses, so many each, in order; see csrc/recurrent/fingerprint.h.
    """
def gru_backward(steps: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, hidden: typing.SupportsInt | typing.SupportsIndex, grad_states: typing.SupportsInt | typing.SupportsIndex, weight: typing.SupportsInt | typing.SupportsIndex, states: typing.SupportsInt | typing.SupportsIndex, gates: typing.SupportsInt | typing.SupportsIndex, candidates: typing.SupportsInt | typing.SupportsIndex, grad_inputs: typing.SupportsInt | typing.SupportsIndex, grad_products: typing.SupportsInt | typing.SupportsIndex, grad_initial: typing.SupportsInt | typing.SupportsIndex, lengths: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Its gradient through time; see csrc/recurrent/gru.h.
    """
def gru_forward(steps: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, hidden: typing.SupportsInt | typing.SupportsIndex, inputs: typing.SupportsInt | typing.SupportsIndex, weight: typing.SupportsInt | typing.SupportsIndex, bias: typing.SupportsInt | typing.SupportsIndex, states: typing.SupportsInt | typing.SupportsIndex, gates: typing.SupportsInt | typing.SupportsIndex, candidates: typing.SupportsInt | typing.SupportsIndex, lengths: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    The recurrence of one GRU layer over contiguous float32 arrays at these addresses (lengths: int64, or 0); see csrc/recurrent/gru.h.
    """
def gru_half_backward(steps: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, hidden: typing.SupportsInt | typing.SupportsIndex, inputs: tuple[typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], weights: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], states: typing.SupportsInt | typing.SupportsIndex, gates: typing.SupportsInt | typing.SupportsIndex, candidates: typing.SupportsInt | typing.SupportsIndex, grad_states: typing.SupportsInt | typing.SupportsIndex, grad_final: typing.SupportsInt | typing.SupportsIndex, grad_inputs: tuple[typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], grad_input: typing.SupportsInt | typing.SupportsIndex, grad_recurrent: typing.SupportsInt | typing.SupportsIndex, grad_input_bias: typing.SupportsInt | typing.SupportsIndex, grad_recurrent_bias: typing.SupportsInt | typing.SupportsIndex, grad_initial: typing.SupportsInt | typing.SupportsIndex, lengths: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Its gradients; see csrc/recurrent/gru_half.h.
    """
def gru_half_forward(steps: typing.SupportsInt | typing.SupportsIndex, batch: typing.SupportsInt | typing.SupportsIndex, hidden: typing.SupportsInt | typing.SupportsIndex, inputs: tuple[typing.SupportsInt | typing.SupportsIndex, bool, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], weights: tuple[typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex], input_bias: typing.SupportsInt | typing.SupportsIndex, recurrent_bias: typing.SupportsInt | typing.SupportsIndex, initial: typing.SupportsInt | typing.SupportsIndex, states: typing.SupportsInt | typing.SupportsIndex, final: typing.SupportsInt | typing.SupportsIndex, gates: typing.SupportsInt | typing.SupportsIndex, candidates: typing.SupportsInt | typing.SupportsIndex, lengths: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    One GRU layer in bfloat16 over arrays at these addresses; see csrc/recurrent/gru_half.h.
    """
def has_half_gru() -> bool:
    """
    Whether the level in force can run the bfloat16 GRU.
    """
def normalize_rows(x: Rows, delta: Rows | None, out: typing.SupportsInt | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex) -> tuple[int, int] | None:
    """
    Write v / (||v|| + eps) to the contiguous rows at address `out`, where v = x, or x + delta. Returns the first row with NaN or infinity and the argument it is in (0 = x, 1 = delta), or None.
    """
def normalize_rows_backward(x: Rows, delta: Rows | None, grad_out: Rows, grad_x: typing.SupportsInt | typing.SupportsIndex, eps: typing.SupportsFloat | typing.SupportsIndex) -> None:
    """
    Write the gradient of normalize_rows with respect to v to the contiguous rows at address `grad_x`.
    """
def num_threads() -> int:
    """
    Threads that kernels may use, the caller's included.
    """
def set_num_threads(count: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Set the number of threads (1 to 1024); ValueError otherwise.
    """
def set_simd_level(name: str) -> None:
    """
    Force an instruction set; ValueError if this CPU lacks it.
    """
def simd_level() -> str:
    """
    The instruction set in force: the best of simd_levels(), unless LVM_FAST_SIMD or set_simd_level() chose another.
    """
def simd_levels() -> list[str]:
    """
    The instruction sets that this CPU can run, slowest first.
    """

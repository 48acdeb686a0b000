"""
The compute core of lvm_fast. Use it through lvm_fast.ops, lvm_fast.layers and lvm_fast.retrieval.
"""
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import torch
import typing
__all__: list[str] = ['Bank', 'Filter', 'PackedMemory', 'PackedModel', 'PackedModelStream', 'Rows', 'dropout', 'fingerprint', 'gru_backward', 'gru_bf16_backward', 'gru_bf16_forward', 'gru_forward', 'has_bf16_gru', 'lstm_backward', 'lstm_forward', 'normalize_rows', 'normalize_rows_backward', 'num_threads', 'set_num_threads', 'set_simd_level', 'simd_level', 'simd_levels']
class Rows:
    """
    A read-only (rows, dim) matrix: a tensor or an array of shape (..., D), dense along its rows, which it keeps alive. int8 rows need `scales`, one float32 a row; uint16 rows are taken for the bits of bfloat16 numbers if `bits_of_bf16`.
    """
    def __init__(self, array: typing.Any, scales: typing.Any | None = None, bits_of_bf16: bool = False) -> None:
        ...
    @property
    def dim(self) -> int:
        ...
    @property
    def memory(self) -> typing.Any:
        ...
    @property
    def rows(self) -> int:
        ...
    @property
    def scales(self) -> typing.Any:
        ...
class PackedMemory:
    """
    What a memory GRU makes of its last state; see PackedModel.
    """
    def __init__(self, *, keys: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], contents: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], fusion_norm: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.SupportsFloat | typing.SupportsIndex], widen: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], narrow: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]]) -> None:
        ...
class PackedModel:
    """
    A packed recurrent model; see csrc/recurrent/packed_model.h and lvm_fast.inference.packed.
    """
    def __init__(self, *, weights: str, cell: str, input: typing.SupportsInt | typing.SupportsIndex, layers: collections.abc.Sequence[typing.Annotated[collections.abc.Sequence[typing.Annotated[numpy.typing.ArrayLike, numpy.float32]], "FixedSize(4)"]], input_norm: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.SupportsFloat | typing.SupportsIndex] | None = None, entry: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]] | None = None, block_norms: collections.abc.Sequence[tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.SupportsFloat | typing.SupportsIndex]] = [], output: tuple[typing.Annotated[numpy.typing.ArrayLike, numpy.float32], typing.Annotated[numpy.typing.ArrayLike, numpy.float32]] | None = None, memory: PackedMemory | None = None, unit_delta: bool) -> None:
        ...
class PackedModelStream:
    """
    The states of B sequences in a packed model.
    """
    def __init__(self, model: PackedModel, batch: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def advance(self, context: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], rows: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None = None) -> numpy.typing.NDArray[numpy.float32] | None:
        """
        Take the steps of context (N, B, D), float32, and predict the unit vectors (B, D) that come next: of all sequences, or of these. None if a number of either is NaN or infinite; the states moved on only if it is a prediction's.
        """
    def copy(self) -> PackedModelStream:
        """
        Another stream that goes on from here, with the same model.
        """
    def reset(self, rows: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex] | None = None) -> None:
        """
        Forget what was read, by these sequences or by all.
        """
class Filter:
    """
    What a question leaves out of a bank of N candidates; None for nothing. Bits are those of numpy.packbits: `allow` (N / 8,) or (B, N / 8), `held` (N / 8,); `exclude` (B, E) ids or -1; `exclude_ranges` (B, R, 2) half-open.
    """
    def __init__(self, allow: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8] | None = None, held: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8] | None = None, exclude: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None, exclude_ranges: typing.Annotated[numpy.typing.ArrayLike, numpy.int64] | None = None) -> None:
        ...
    @property
    def allow(self) -> numpy.typing.NDArray[numpy.uint8] | None:
        ...
    @property
    def exclude(self) -> numpy.typing.NDArray[numpy.int64] | None:
        ...
    @property
    def exclude_ranges(self) -> numpy.typing.NDArray[numpy.int64] | None:
        ...
    @property
    def held(self) -> numpy.typing.NDArray[numpy.uint8] | None:
        ...
class Bank:
    """
    Exact scoring over rows, which it keeps alive; see lvm_fast.retrieval.bank.VectorBank.
    """
    @staticmethod
    def open(rows: Rows, coarse: typing.Annotated[numpy.typing.ArrayLike, numpy.int8], fine: typing.Annotated[numpy.typing.ArrayLike, numpy.int8], bounds: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], factors: typing.Annotated[numpy.typing.ArrayLike, numpy.float64] | None, offsets: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None, prefix: typing.Annotated[numpy.typing.ArrayLike, numpy.int8] | None, prefix_bounds: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None, prefix_dim: typing.SupportsInt | typing.SupportsIndex) -> Bank:
        ...
    def __init__(self, rows: Rows, metric: str) -> None:
        ...
    def add_prefixes(self, prefixes: Rows, tails: typing.Annotated[numpy.typing.ArrayLike, numpy.float32], first: typing.SupportsInt | typing.SupportsIndex) -> None:
        ...
    def best(self, queries: Rows, low: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], high: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], limit: typing.SupportsInt | typing.SupportsIndex, filter: Filter, prefixes: Rows | None, tails: typing.Annotated[numpy.typing.ArrayLike, numpy.float32] | None) -> tuple[numpy.typing.NDArray[numpy.float64], numpy.typing.NDArray[numpy.int64]]:
        ...
    def packed(self) -> dict[str, numpy.ndarray]:
        ...
    def pair_scores(self, queries: Rows, ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64]) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def rank(self, queries: Rows, scores: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], ids: typing.Annotated[numpy.typing.ArrayLike, numpy.int64], first_id: typing.SupportsInt | typing.SupportsIndex, max_rank: typing.SupportsInt | typing.SupportsIndex, filter: Filter) -> numpy.typing.NDArray[numpy.int64]:
        ...
    def refill(self, rows: Rows) -> None:
        ...
    def sum_exp(self, queries: Rows, factor: typing.SupportsFloat | typing.SupportsIndex, best: typing.Annotated[numpy.typing.ArrayLike, numpy.float64], held: typing.Annotated[numpy.typing.ArrayLike, numpy.uint8] | None) -> numpy.typing.NDArray[numpy.float64]:
        ...
    def take_tally(self) -> tuple[int, int, int]:
        """
        Pairs screened, refined and rescored since the last call.
        """
def dropout(x: torch.Tensor | numpy.ndarray, p: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex, out: torch.Tensor | numpy.ndarray) -> None:
    """
    See csrc/rowwise/dropout.h.
    """
def fingerprint(memory: collections.abc.Sequence[torch.Tensor | numpy.ndarray]) -> int:
    """
    64 bits over the bytes of contiguous arrays, in order; see csrc/recurrent/fingerprint.h.
    """
def gru_backward(grad_states: torch.Tensor | numpy.ndarray, weight: torch.Tensor | numpy.ndarray, states: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, candidates: torch.Tensor | numpy.ndarray, grad_inputs: torch.Tensor | numpy.ndarray, grad_products: torch.Tensor | numpy.ndarray, grad_initial: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None, reverse: bool = False) -> None:
    """
    Its gradient through time; see csrc/recurrent/gru.h.
    """
def gru_bf16_backward(*, inputs: torch.Tensor | numpy.ndarray, weight_ih: torch.Tensor | numpy.ndarray, weight_hh: torch.Tensor | numpy.ndarray, states: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, candidates: torch.Tensor | numpy.ndarray, grad_states: torch.Tensor | numpy.ndarray | None, grad_final: torch.Tensor | numpy.ndarray, grad_inputs: torch.Tensor | numpy.ndarray | None, grad_weight_ih: torch.Tensor | numpy.ndarray, grad_weight_hh: torch.Tensor | numpy.ndarray, grad_bias_ih: torch.Tensor | numpy.ndarray, grad_bias_hh: torch.Tensor | numpy.ndarray, grad_initial: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None) -> None:
    """
    Its gradients; see csrc/recurrent/gru_bf16.h.
    """
def gru_bf16_forward(*, inputs: torch.Tensor | numpy.ndarray, weight_ih: torch.Tensor | numpy.ndarray, weight_hh: torch.Tensor | numpy.ndarray, bias_ih: torch.Tensor | numpy.ndarray, bias_hh: torch.Tensor | numpy.ndarray, initial: torch.Tensor | numpy.ndarray, states: torch.Tensor | numpy.ndarray, final: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, candidates: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None) -> None:
    """
    One GRU layer in bfloat16 over contiguous arrays (inputs and weight_ih: dense rows, anywhere); see csrc/recurrent/gru_bf16.h.
    """
def gru_forward(inputs: torch.Tensor | numpy.ndarray, weight: torch.Tensor | numpy.ndarray, bias: torch.Tensor | numpy.ndarray, states: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, candidates: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None, reverse: bool = False) -> None:
    """
    The recurrence of one GRU layer over contiguous arrays, float32 (lengths: int64, or None); see csrc/recurrent/gru.h.
    """
def has_bf16_gru() -> bool:
    """
    Whether the level in force can run the bfloat16 GRU.
    """
def lstm_backward(grad_states: torch.Tensor | numpy.ndarray | None, weight: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, cells: torch.Tensor | numpy.ndarray, grad_gates: torch.Tensor | numpy.ndarray, grad_state: torch.Tensor | numpy.ndarray, grad_cell: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None, reverse: bool = False) -> None:
    """
    Its gradient through time; see csrc/recurrent/lstm.h.
    """
def lstm_forward(weight: torch.Tensor | numpy.ndarray, gates: torch.Tensor | numpy.ndarray, states: torch.Tensor | numpy.ndarray, cells: torch.Tensor | numpy.ndarray, lengths: torch.Tensor | numpy.ndarray | None, reverse: bool = False) -> None:
    """
    The recurrence of one LSTM layer over contiguous arrays, float32 (lengths: int64, or None); see csrc/recurrent/lstm.h.
    """
def normalize_rows(x: Rows, delta: Rows | None, out: torch.Tensor | numpy.ndarray, eps: typing.SupportsFloat | typing.SupportsIndex) -> tuple[int, int] | None:
    """
    Write v / (||v|| + eps) to the contiguous array `out`, where v = x, or x + delta. Returns the first row with NaN or infinity and the argument it is in (0 = x, 1 = delta), or None.
    """
def normalize_rows_backward(x: Rows, delta: Rows | None, grad_out: Rows, grad_x: torch.Tensor | numpy.ndarray, eps: typing.SupportsFloat | typing.SupportsIndex) -> None:
    """
    Write the gradient of normalize_rows with respect to v to the contiguous array `grad_x`.
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

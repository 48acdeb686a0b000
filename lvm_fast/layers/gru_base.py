"""Makes a GRU fit torch's tools that take modules apart: TorchScript, torch.fx, torch.ao.quantization, pickle."""

# no annotations from the future: TorchScript reads these
import copy
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

TorchGRU = nn.GRU  # as imported: programs put ours in its place


class GRUBase(nn.RNNBase):
    """A GRU without a `forward` of its own but in TorchScript, where it is torch's; see `lvm_fast.layers.gru.GRU`."""

    __overloads__: ClassVar[dict[str, list[str]]] = {"forward": ["_script_steps", "_script_packed"]}
    __jit_unused_properties__ = ["all_weights", "qconfig"]  # noqa: RUF012

    def as_torch(self) -> TorchGRU:
        """Return a `torch.nn.GRU` that shares these parameters, for tools that know torch's own class only.

        Raises:
            ValueError: parameters are parametrized: remove the parametrizations first.
        """
        if hasattr(self, "parametrizations"):
            raise ValueError("GRU: as_torch: expected plain parameters, got parametrized ones; remove those first")
        twin = copy.copy(self)
        twin.__dict__.update(_parameters=dict(self._parameters), _flat_weights=list(self._flat_weights))
        twin.__class__ = TorchGRU  # type: ignore[assignment]
        return twin  # type: ignore[return-value]

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "mode" not in state:  # saved by version 0.1, which was no RNNBase
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if state["bias"] else ("weight_ih", "weight_hh")
            names = [[f"{kind}_l{layer}" for kind in kinds] for layer in range(state["num_layers"])]
            flat = [name for layer in names for name in layer]
            lists = {"_all_weights": names, "_flat_weights_names": flat}
            weights = [state["_parameters"].get(name) for name in flat]
            more = {"mode": "GRU", "bidirectional": False, "proj_size": 0, "_flat_weights": weights}
            state = {**state, **lists, **more}
        super().__setstate__(state)  # type: ignore[no-untyped-call]

    @property
    def qconfig(self) -> Any:
        """The setting of torch.ao.quantization for this module: missing or None, as it cannot quantise it."""
        if "_qconfig" in self.__dict__:
            return None
        raise AttributeError("qconfig")

    @qconfig.setter
    def qconfig(self, value: Any) -> None:
        if value is not None:
            taken = "torch.ao.quantization takes torch.nn.GRU only: put this module's .as_torch() in its place"
            raise ValueError(f"GRU: qconfig: expected None, got {type(value).__name__}; {taken}")
        self.__dict__["_qconfig"] = None

    @qconfig.deleter
    def qconfig(self) -> None:
        del self.__dict__["_qconfig"]

    def _forward_in_torch(self, input: Any, hx: Any) -> tuple[Any, Tensor]:
        forward: Any = TorchGRU.forward
        states, final = forward(self, input, hx)
        return states, final

    def _as_node(self, input: Any, hx: Any) -> Any:
        """Return a call of this module in the graph that torch.fx records, as torch's own modules are recorded."""
        tracer = input.tracer
        path = tracer.path_of_module(self)
        if not path:
            raise torch.fx.proxy.TraceError("GRU: expected to be traced as a part of a module, got traced by itself")
        return tracer.create_proxy("call_module", path, (input,) if hx is None else (input, hx), {})

    @torch.jit.export
    def _script_steps(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch_dim = 0 if self.batch_first else 1
        is_batched = input.dim() == 3
        steps = input if is_batched else input.unsqueeze(batch_dim)
        initial = self._script_initial(steps, steps.size(batch_dim), hx, is_batched)
        self.check_forward_args(steps, initial, None)
        states, final = torch.gru(
            steps,
            initial,
            self._flat_weights,  # type: ignore[arg-type]
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
            self.batch_first,
        )
        return (states, final) if is_batched else (states.squeeze(batch_dim), final.squeeze(1))

    @torch.jit.export
    def _script_packed(self, input: PackedSequence, hx: Tensor | None = None) -> tuple[PackedSequence, Tensor]:
        data, batch_sizes, order, back = input
        initial = self.permute_hidden(self._script_initial(data, int(batch_sizes[0]), hx, True), order)
        self.check_forward_args(data, initial, batch_sizes)
        states, final = torch.gru(
            data,
            batch_sizes,
            initial,
            self._flat_weights,  # type: ignore[arg-type]
            self.bias,
            self.num_layers,
            self.dropout,
            self.training,
            self.bidirectional,
        )
        return PackedSequence(states, batch_sizes, order, back), self.permute_hidden(final, back)

    def _script_initial(self, like: Tensor, batch: int, hx: Tensor | None, is_batched: bool) -> Tensor:
        if hx is not None:
            return hx if is_batched else hx.unsqueeze(1)
        count = 2 * self.num_layers if self.bidirectional else self.num_layers
        return torch.zeros(count, batch, self.hidden_size, dtype=like.dtype, device=like.device)

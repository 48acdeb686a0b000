"""Makes a recurrent layer fit torch's tools that take modules apart: torch.fx, torch.ao.quantization, pickle."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import torch
from torch import nn


class RecurrentBase(nn.RNNBase):
    """What `lvm_fast.layers.gru.GRU` and `lvm_fast.layers.lstm.LSTM` are to torch's tools.

    Attributes:
        torch_class: The class of torch's own that it stands for.
        was_torch: Whether `lvm_fast.accelerate` made it of a module of torch's own.
    """

    __jit_unused_properties__ = ["all_weights", "qconfig"]  # noqa: RUF012
    torch_class: ClassVar[type[nn.RNNBase]]
    batch_first_before: ClassVar[bool] = False  # what modules of version 0.1 were that did not say so
    was_torch = False

    def as_torch(self) -> Any:
        """Return a module of torch's own class that shares these parameters, for tools that know that class only.

        Raises:
            ValueError: parameters are parametrized: remove the parametrizations first.
        """
        if hasattr(self, "parametrizations"):
            found = "expected plain parameters, got parametrized ones; remove those first"
            raise ValueError(f"{self.mode}: as_torch: {found}")
        twin = copy.copy(self)
        twin.__dict__.update(_parameters=dict(self._parameters), _flat_weights=list(self._flat_weights))
        twin.__class__ = self.torch_class  # type: ignore[assignment]
        return twin

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "mode" not in state:  # saved by version 0.1, which was no RNNBase
            has_bias = state.get("bias", True)
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if has_bias else ("weight_ih", "weight_hh")
            names = [[f"{kind}_l{layer}" for kind in kinds] for layer in range(state["num_layers"])]
            flat = [name for layer in names for name in layer]
            weights = [state["_parameters"].get(name) for name in flat]
            more = {
                "mode": self.torch_class.__name__,
                "bias": has_bias,
                "batch_first": self.batch_first_before,
                "input_size": state["_parameters"]["weight_ih_l0"].shape[1],
                "bidirectional": False,
                "proj_size": 0,
                "_all_weights": names,
                "_flat_weights_names": flat,
                "_flat_weights": weights,
            }
            state = {**more, **state}
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
            own = f"torch.nn.{self.mode}"
            taken = f"torch.ao.quantization takes {own} only: put this module's .as_torch() in its place"
            raise ValueError(f"{self.mode}: qconfig: expected None, got {type(value).__name__}; {taken}")
        self.__dict__["_qconfig"] = None

    @qconfig.deleter
    def qconfig(self) -> None:
        del self.__dict__["_qconfig"]

    def _forward_in_torch(self, input: Any, hx: Any) -> tuple[Any, Any]:
        forward: Any = self.torch_class.forward
        states, final = forward(self, input, hx)
        return states, final

    def _as_node(self, input: Any, hx: Any) -> Any:
        """Return a call of this module in the graph that torch.fx records, as torch's own modules are recorded."""
        tracer = input.tracer
        path = tracer.path_of_module(self)
        if not path:
            expected = "expected to be traced as a part of a module, got traced by itself"
            raise torch.fx.proxy.TraceError(f"{self.mode}: {expected}")
        return tracer.create_proxy("call_module", path, (input,) if hx is None else (input, hx), {})

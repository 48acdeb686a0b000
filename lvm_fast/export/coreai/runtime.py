"""Runs an asset in Apple's runtime, on a Mac and on Linux."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .apple import AIModelAsset, RuntimeArray

States: TypeAlias = dict[str, Any]  # Apple's arrays by name; they change with every call


class RunningAsset:
    """An asset that is loaded and ready, as a context manager; its functions run one at a time.

    Args:
        path: The ``.aimodel``.

    Attributes:
        functions: Their names, in order.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._asset = AIModelAsset.load(Path(path))
        self._loop = asyncio.new_event_loop()
        # a thread of its own: whoever calls may have a running loop already, as notebooks do
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._loaded: dict[str, Any] = {}
        self.functions: list[str] = []

    def __enter__(self) -> RunningAsset:
        self._thread.start()
        self._opened = self._asset.executable()
        try:
            self._model = self._wait(self._opened.__aenter__())
        except BaseException:
            self._stop()
            raise
        self.functions = list(self._model.function_names)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._loaded.clear()
            self._wait(self._opened.__aexit__(None, None, None))
        finally:
            self._stop()

    def input_shapes(self, function: str) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of a function's inputs, None where any size will do; states are no inputs."""
        about = self._function(function).desc
        return _shapes({name: about.input_descriptor(name).shape for name in about.input_names})

    def output_shapes(self, function: str) -> dict[str, tuple[int | None, ...]]:
        """Return the shapes of a function's outputs, None where any size will do."""
        about = self._function(function).desc
        return _shapes({name: about.output_descriptor(name).shape for name in about.output_names})

    def state_shapes(self, function: str) -> dict[str, tuple[int, ...]]:
        """Return the shapes of a function's states."""
        about = self._function(function).desc
        return {name: tuple(about.state_descriptor(name).shape) for name in about.state_names}

    def new_state(self, function: str) -> States:
        """Return states of zeros for a function; none where it keeps none."""
        about = self._function(function).desc
        described = {name: about.state_descriptor(name) for name in about.state_names}
        return {name: RuntimeArray(np.zeros(each.shape, each.dtype)) for name, each in described.items()}

    def run(
        self, function: str, inputs: Mapping[str, NDArray[Any]], state: States | None = None
    ) -> dict[str, NDArray[Any]]:
        """Call a function.

        Args:
            function: Its name.
            inputs: Arrays by name.
            state: What the function keeps, from `new_state`; it changes.

        Returns:
            Copies of the outputs, by name.
        """
        given = {name: RuntimeArray(np.ascontiguousarray(array)) for name, array in inputs.items()}
        found = self._wait(self._function(function)(inputs=given, state=state or {}))
        return {name: np.array(array.numpy()) for name, array in found.items()}

    def _function(self, name: str) -> Any:
        if name not in self._loaded:
            with _quiet():
                self._loaded[name] = self._model.load_function(name)
        return self._loaded[name]

    def _wait(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _shapes(described: Mapping[str, Iterable[int | None]]) -> dict[str, tuple[int | None, ...]]:
    return {name: tuple(None if size in (None, -1) else size for size in shape) for name, shape in described.items()}


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the runtime writes to the process's standard error, a line a function, from whoever reads that."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

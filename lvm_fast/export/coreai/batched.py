"""Runs a program in Apple's runtime as `evaluate` runs a model."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ...models.base import LatentVectorModel
from ..batched_model import BatchedModel
from . import SUFFIX
from .asset import save_program
from .convert import convert
from .functions import batched_function
from .registry import Programs
from .widen import running

_MOST = 4096  # contexts at once


class BatchedAsset(BatchedModel):
    """Runs a program in Apple's runtime; a context manager, for as long as the program is loaded.

    Args:
        programs: What the functions of an asset are of.
        model: Its model.
        longest: The most vectors of a context.
    """

    def __init__(self, programs: Programs, model: LatentVectorModel, longest: int) -> None:
        super().__init__(model)
        self._function = batched_function(programs.of(None), _MOST, max(longest, 2))
        self._precision = programs.of(None).options.precision
        self._opened = ExitStack()

    def __enter__(self) -> BatchedAsset:
        with TemporaryDirectory() as folder:
            path = Path(folder, f"batched{SUFFIX}")
            save_program(convert({"predict": self._function}), path)
            self._asset = self._opened.enter_context(running(path, self._precision))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def run(self, contexts: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """See `BatchedModel.run`."""
        return self._asset.run("predict", {"context": contexts})

"""MLflow; its own environment variables say where runs go (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME)."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from . import PROJECT, RunFacts

_TAG = "lvm_fast.run"  # by which a resumed training finds its run again
_LONGEST = 500  # characters of a setting that every store takes


class MLflow:
    """A run of an MLflow experiment, which a resumed training continues."""

    def __init__(self, facts: RunFacts) -> None:
        from mlflow import MlflowClient
        from mlflow.entities import Metric

        self._client, self._metric = MlflowClient(), Metric
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        experiment = self._client.get_experiment_by_name(name)
        place = self._client.create_experiment(name) if experiment is None else experiment.experiment_id
        earlier = self._client.search_runs([place], f"tags.`{_TAG}` = '{facts.name}'")
        if earlier:
            self._run = earlier[0].info.run_id
            self._client.update_run(self._run, status="RUNNING")
            return
        self._run = self._client.create_run(place, run_name=facts.name, tags={_TAG: facts.name}).info.run_id
        for setting, value in facts.settings.items():
            self._client.log_param(self._run, setting, str(value)[:_LONGEST])

    def add(self, figures: Mapping[str, float], step: int) -> None:
        """Log figures at a step."""
        now = int(1000 * time.time())
        self._client.log_batch(self._run, [self._metric(name, value, now, step) for name, value in figures.items()])

    def close(self) -> None:
        """End the run."""
        self._client.set_terminated(self._run)

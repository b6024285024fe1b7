"""MLflow: a store in the directory of the run, unless MLFLOW_TRACKING_URI names another one."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence

from dance.trackers.base import TRACKERS, Results, TrackedRun, Tracker

_METRICS, _SETTINGS, _LENGTH = 1000, 100, 6000
"""Metrics and parameters that MLflow takes in one call, and characters of a parameter."""
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""How long a run waits for a server (seconds); by MLflow's defaults, it would be many minutes."""


@TRACKERS.register("mlflow")
class MLflow(Tracker):
    """A run of MLflow, in the experiment ``dance`` or that of MLFLOW_EXPERIMENT_NAME."""

    package = "mlflow"

    def start(self, run: TrackedRun) -> str:
        """See :class:`Tracker`."""
        place = os.environ.get("MLFLOW_TRACKING_URI")
        if not place:
            place = run.folder.resolve().as_uri()
            os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # a database takes SQLAlchemy
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would use the network
        for name, value in _PATIENCE.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(tracking_uri=place), Metric
        if run.known_as is not None:
            self._id = run.known_as
            self._client.update_run(self._id, status="RUNNING")
            return self._id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or "dance"
        known = self._client.get_experiment_by_name(name)
        number = self._client.create_experiment(name) if known is None else known.experiment_id
        self._id = str(self._client.create_run(number, run_name=run.name).info.run_id)
        settings = [Param(key, str(value)[:_LENGTH]) for key, value in run.settings.items()]
        for first in range(0, len(settings), _SETTINGS):
            self._client.log_batch(self._id, params=settings[first : first + _SETTINGS])
        return self._id

    def log(self, rows: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        """See :class:`Tracker`."""
        now = int(time.time() * 1000)
        metrics = [
            self._metric(re.sub(r"[^\w\-. :/]", "_", name), value, now, step)
            for step, values in rows
            for name, value in values.items()
        ]
        for first in range(0, len(metrics), _METRICS):
            self._client.log_batch(self._id, metrics=metrics[first : first + _METRICS])

    def finish(self, results: Results | None) -> None:
        """See :class:`Tracker`."""
        if results is not None:
            self.log([(0, results.numbers)])
            self._client.log_image(self._id, results.picture, "condensed.png")
        self._client.set_terminated(self._id, "KILLED" if results is None else "FINISHED")

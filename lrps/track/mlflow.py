"""A tracker that sends a path to MLflow, found by its entry point. The only module that imports mlflow, an optional
package."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping

from lrps.store.marks import with_mark
from lrps.track.tracker import TrackedPath


class MlflowRun:
    """A path as one run of MLflow over all its attempts, in an experiment named after the plan and its mark.

    The address is that of the options, or else MLFLOW_TRACKING_URI. A step that is logged twice has two values.
    """

    name = "mlflow"

    def __init__(self, path: TrackedPath, *, uri: str | None = None) -> None:
        """uri: address of the tracking server, or of a file store."""
        # It prints emoji at the end of a run, which a terminal in ASCII refuses.
        os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
        from mlflow import MlflowClient

        self._path, self._client = path, MlflowClient(uri)
        self._run = ""

    def start(self, step: int) -> None:
        client, name = self._client, with_mark(self._path.path, self._path.mark)
        found = client.get_experiment_by_name(self._path.group)
        experiment = client.create_experiment(self._path.group) if found is None else found.experiment_id
        runs = client.search_runs([experiment], f"attributes.run_name = '{name}'")
        tags = {"lrps.kind": self._path.job, **{f"lrps.{tag}": "true" for tag in self._path.tags}}
        run = runs[0] if runs else client.create_run(experiment, run_name=name, tags=tags)
        self._run = str(run.info.run_id)
        client.update_run(self._run, status="RUNNING")
        client.set_tag(self._run, "lrps.attempt_from_step", str(step))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        from mlflow.entities import Metric

        now = round(1000 * time.time())
        self._client.log_batch(self._run, [Metric(name, value, now, step) for name, value in values.items()])

    def finish(self, exit_code: int, ledger_sha256: str) -> None:
        self._client.set_tag(self._run, "lrps.ledger_sha256", ledger_sha256)
        self._client.set_terminated(self._run, "FAILED" if exit_code else "FINISHED")

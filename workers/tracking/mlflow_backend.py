"""Runs of MLflow, by its own client, for which `MLFLOW_TRACKING_USERNAME`, `_PASSWORD` and `_TOKEN` are."""

# ruff: noqa: PLC0415 - MLflow is imported where it is used: by a worker that tracks, in the thread that does

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import Any

from workers.tracking.backend import Trouble
from workers.tracking.entries import Begin, End, Files, Params, Point, RunStatus

#: Of its client, unless they are set: it would wait for two minutes, seven times, and tell its makers of each run.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
#: Of runs that are over.
STATUSES: dict[RunStatus, str] = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}

#: By which an attempt finds the run of the one before, whichever worker made it.
JOB_ID = "layercut.job_id"
SECRETS = "MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD,"
#: How many params one call may have.
PARAMS_AT_ONCE = 100
#: Of what a name may be made of.
_ODD = re.compile(r"[^\w./ -]")


class MlflowBackend:
    """Of the server at ``uri``. ``experiment`` may say ``{tenant}``."""

    name = "MLflow"

    def __init__(self, uri: str, experiment: str) -> None:
        self._uri, self._experiment = uri, experiment
        self._client: Any = None
        self._run_id = ""
        #: What the run has: a param is written once.
        self._params: set[str] = set()

    def prepare(self) -> None:
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow.tracking import MlflowClient

        self._client = MlflowClient(tracking_uri=self._uri)

    def begin(self, run: Begin) -> None:
        if self._client is None:
            self.prepare()
        tags = {
            **run.tags, JOB_ID: run.job_id, "mlflow.runName": run.name, "mlflow.user": run.group,
            "mlflow.note.content": run.link,
        }  # fmt: skip
        found = self._find(self._experiment.replace("{tenant}", run.group), run.job_id)
        if isinstance(found, str):
            begun = self._client.create_run(found, tags=_named(tags), run_name=run.name)
        else:
            begun = found
            self._client.update_run(begun.info.run_id, status="RUNNING")
            self._log(begun.info.run_id, tags=tags)
        self._run_id, self._params = begun.info.run_id, set(begun.data.params)
        self.params(Params(run.params))

    def params(self, more: Params) -> None:
        new = {name: value for name, value in _named(more.values).items() if name not in self._params}
        for names in _parts(list(new), PARAMS_AT_ONCE):
            self._log(self._run_id, params={name: new[name] for name in names})
            self._params.update(names)

    def points(self, points: Sequence[Point]) -> None:
        from mlflow.entities import Metric

        metrics = [
            Metric(_ODD.sub("_", name), value, round(point.at * 1000), point.step or 0)
            for point in points
            for name, value in point.values.items()
        ]
        for part in _parts(metrics, 1000):
            self._client.log_batch(self._run_id, metrics=part)

    def files(self, files: Files) -> None:
        for name, text in files.texts.items():
            self._client.log_text(self._run_id, text, name)

    def end(self, end: End) -> None:
        if end.status == "lost":
            return
        self._log(self._run_id, tags=end.tags)
        if end.status == "queued":
            self._client.update_run(self._run_id, status="SCHEDULED")
        else:
            self._client.set_terminated(self._run_id, STATUSES[end.status])

    def drop(self) -> None:
        self._run_id, self._params = "", set()

    def trouble(self, error: Exception) -> Trouble:
        if isinstance(error, ImportError):
            return Trouble("its client is not installed on the worker (the extra mlflow)", False)
        status = error.get_http_status_code() if hasattr(error, "get_http_status_code") else 500
        if status in (401, 403):
            return Trouble(f"it refuses us ({status}): see {SECRETS} of the worker", False)
        if 400 <= status < 500 and status != 429:
            return Trouble(f"it does not take what it is told ({status} {getattr(error, 'error_code', '')})", False)
        return Trouble(f"it does not answer ({type(error).__name__})", True)

    def _find(self, experiment: str, job_id: str) -> Any:
        """The job's run; or the id of the experiment to begin one in."""
        id = self._experiment_id(experiment)
        runs = self._client.search_runs([id], f"tags.`{JOB_ID}` = '{job_id}'", max_results=1)
        return runs[0] if runs else id

    def _experiment_id(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        if (found := self._client.get_experiment_by_name(name)) is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(name))
        except MlflowException as error:  # another worker was first
            found = self._client.get_experiment_by_name(name)
            if found is None or error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(found.experiment_id)

    def _log(self, run_id: str, *, params: Any = None, tags: Any = None) -> None:
        from mlflow.entities import Param, RunTag

        self._client.log_batch(
            run_id,
            params=[Param(name, value) for name, value in (params or {}).items()],
            tags=[RunTag(name, value) for name, value in _named(tags or {}).items()],
        )


def _named(values: Any) -> dict[str, str]:
    """By names that MLflow takes."""
    return {_ODD.sub("_", name)[:250]: value for name, value in values.items()}


def _parts(values: Sequence[Any], size: int) -> list[list[Any]]:
    return [list(values[at : at + size]) for at in range(0, len(values), size)]

"""Runs of Weights & Biases, by its own client, for which `WANDB_API_KEY`, `WANDB_BASE_URL` and `WANDB_MODE` are.

Its client has a process and queues of its own: it takes what it is told at once, and keeps it in files until its server
has it. Those of a run that is sent are removed; of one that is not (`WANDB_MODE=offline`, or a server that went away),
they stay for `wandb sync`.
"""

# ruff: noqa: PLC0415 - wandb is imported where it is used: by a worker that tracks, in the thread that does

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from workers.tracking.backend import Trouble
from workers.tracking.entries import Begin, End, Files, Params, Point, RunStatus

#: Unless they are set: its makers would be told of each error.
ENVIRONMENT = {"WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"}
FOLDERS = {"WANDB_DATA_DIR": "data", "WANDB_CACHE_DIR": "cache", "WANDB_CONFIG_DIR": "config"}
#: How long the beginning of a run may take, and its end.
INIT_SECONDS, FINISH_SECONDS = 20.0, 60.0
#: 255 is how its runs say that they were killed.
EXIT_CODES: dict[RunStatus, int] = {"queued": 1, "lost": 1, "succeeded": 0, "failed": 1, "cancelled": 255}


class WandbBackend:
    """Of ``project``, of ``entity`` where it is not the key's own. Files of runs lie in ``folder``."""

    name = "Weights & Biases"

    def __init__(self, project: str, entity: str, folder: Path) -> None:
        self._project, self._entity, self._folder = project, entity, folder
        self._run: Any = None
        self._files = folder
        self._curves: set[str] = set()

    def prepare(self) -> None:
        # Not in the home of whoever runs the worker, who may have none.
        own = {name: str(self._folder / folder) for name, folder in FOLDERS.items()}
        for name, value in {**ENVIRONMENT, **own}.items():
            os.environ.setdefault(name, value)
        import wandb  # noqa: F401

    def begin(self, run: Begin) -> None:
        self.prepare()
        import wandb

        root = Path(os.environ.get("WANDB_DIR") or self._folder)
        self._files = root / f"{run.job_id}-{run.attempt}"
        shutil.rmtree(self._files, ignore_errors=True)  # of a try that failed
        self._files.mkdir(parents=True)
        self._curves = set()
        self._run = wandb.init(
            project=self._project.replace("{tenant}", run.group), entity=self._entity or None, id=run.job_id,
            name=run.name, group=run.group, job_type="layercut", notes=run.link, dir=self._files, resume="allow",
            reinit="create_new", config={**run.params}, allow_val_change=True, settings=_settings(),
        )  # fmt: skip
        self._run.config.update({"tags": {**run.tags}}, allow_val_change=True)

    def params(self, more: Params) -> None:
        self._run.config.update({**more.values}, allow_val_change=True)

    def points(self, points: Sequence[Point]) -> None:
        for point in points:
            if point.step is None:
                self._run.summary.update({**point.values})
                continue
            # Its own steps may never go back, and each curve has steps of its own.
            for name in point.values.keys() - self._curves:
                self._run.define_metric(name, step_metric=_axis(name))
            self._curves |= point.values.keys()
            self._run.log({**point.values, **dict.fromkeys(map(_axis, point.values), point.step)})

    def files(self, files: Files) -> None:
        import wandb

        artifact = wandb.Artifact(f"report-{self._run.id}", type="report")
        for name, text in files.texts.items():
            with artifact.new_file(name, mode="w", encoding="utf-8") as file:
                file.write(text)
        self._run.log_artifact(artifact)

    def end(self, end: End) -> None:
        self._run.config.update({"tags": {**self._run.config.get("tags", {}), **end.tags}}, allow_val_change=True)
        self._run.summary["verdict"] = end.summary
        if end.status == "queued":
            self._run.mark_preempting()
        self._finish(end.status)

    def drop(self) -> None:
        with suppress(Exception):  # nobody is told any more
            self._finish("lost")

    def _finish(self, status: RunStatus) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        run.finish(exit_code=EXIT_CODES[status])
        if not run.offline:
            shutil.rmtree(self._files, ignore_errors=True)

    def trouble(self, error: Exception) -> Trouble:
        if isinstance(error, ImportError):
            return Trouble("its client is not installed on the worker (the extra wandb)", False)
        from wandb.errors import AuthenticationError, CommError, UsageError

        if isinstance(error, AuthenticationError | UsageError):
            return Trouble(f"it refuses us ({type(error).__name__}): WANDB_API_KEY of the worker", False)
        return Trouble(f"it does not answer ({type(error).__name__})", isinstance(error, CommError | TimeoutError))


def _settings() -> Any:
    """Nothing of the worker goes along: neither its host, its program, its packages nor how busy it is."""
    import wandb

    return wandb.Settings(
        init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS, finish_timeout_raises=True,
        console="off", silent=True, quiet=True, disable_git=True, disable_code=True, save_code=False,
        x_disable_meta=True, x_disable_stats=True, x_disable_machine_info=True, x_save_requirements=False,
    )  # fmt: skip


def _axis(name: str) -> str:
    """What a curve is drawn over: the curves of one training have one axis."""
    return f"{name.rpartition('/')[0]}/step"

"""From what the store took of an attempt to what the services that track it are told. Thread-safe.

All of it follows the store, as the recorder's numbers do: of an attempt that lost its lease no end is told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from api_schemas.events import EventType, MetricData, NewEvent, StageData
from api_schemas.jobs import Job, Progress, Stage, Status
from api_schemas.reports import Report
from api_schemas.resolved import ResolvedRequest
from sources.beneath import open_regular
from store.jobs import Claim
from workers.settings import WorkerSettings
from workers.tracking.entries import Begin, End, Entry, Files, Params, Point, RunStatus
from workers.tracking.facts import curve_of, finite, metrics_of, params_of
from workers.tracking.mlflow_backend import MlflowBackend
from workers.tracking.tracker import Tell, Tracker
from workers.tracking.wandb_backend import WandbBackend

log = logging.getLogger("layercut.tracking")

REPORT, CARD = "report.json", "README.md"
#: Of either; a longer one is no file of ours.
LONGEST_FILE = 16 * 2**20
#: Trainings whose losses are one curve. The trials of a search are many short ones.
CURVES = {Stage.BASELINE, Stage.RECOVERING}
STATUSES: dict[Status, RunStatus] = {
    Status.SUCCEEDED: "succeeded", Status.FAILED: "failed", Status.CANCELLED: "cancelled", Status.QUEUED: "queued",
}  # fmt: skip


def trackers_of(settings: WorkerSettings) -> list[Tracker]:
    """Those that the settings name; none is the default."""
    found = []
    if settings.mlflow_tracking_uri:
        found.append(Tracker(MlflowBackend(settings.mlflow_tracking_uri, settings.mlflow_experiment)))
    if settings.wandb_project:
        folder = settings.data_dir / "wandb"
        found.append(Tracker(WandbBackend(settings.wandb_project, settings.wandb_entity, folder)))
    return found


class Tracking:
    """Of one worker, which has one attempt at a time. Nothing here waits for a service, and nothing raises.

    ``public_url`` is what people call the gateway by: the link of each run begins with it.
    """

    def __init__(self, trackers: Sequence[Tracker], *, version: str, public_url: str = "") -> None:
        self._trackers, self._version, self._public_url = trackers, version, public_url.rstrip("/")
        self._lock = threading.Lock()
        self._first_seed, self._stage, self._curve = 0, Stage.RESOLVING, ""
        self._published: list[Entry] = []

    def begin(self, claim: Claim, tell: Tell) -> None:
        """``tell`` hears where a service cannot be told of the attempt."""
        if not self._trackers:
            return
        with self._lock:
            self._published, self._first_seed = [], claim.resolved.seeds[0]
            for tracker in self._trackers:
                tracker.begin(self._begin(claim), tell)

    def told(self, event: NewEvent) -> None:
        """The store took an event of the attempt."""
        if self._trackers and event.type != EventType.LOG:
            with self._lock:
                self._put(*self._entries(event))

    def published(self, folder: Path) -> None:
        """The files of the attempt are in the artifact store; it may still lose its lease."""
        if not self._trackers:
            return
        try:
            found = _of_files(folder)
        except (OSError, ValueError) as error:  # what a runner wrote is whatever it is
            log.warning("%s cannot be told of: %s", REPORT, type(error).__name__)
            return
        with self._lock:
            self._published = found

    def ended(self, job: Job) -> None:
        """The store took the attempt's end."""
        with self._lock:
            if job.status in (Status.SUCCEEDED, Status.FAILED):
                self._put(*self._published)
            self._put(_end(job))

    def lost(self) -> None:
        """The attempt has lost its lease: its run is another's, or will be."""
        with self._lock:
            self._put(End("lost"))

    @property
    def warnings(self) -> list[str]:
        """What the attempt's report says of its runs."""
        return [warning for tracker in self._trackers for warning in tracker.warnings]

    def close(self, seconds: float) -> None:
        """Tell what waits for so many ``seconds`` at most, all services together."""
        until = time.monotonic() + seconds
        for tracker in self._trackers:
            tracker.close(max(0.0, until - time.monotonic()))

    def _put(self, *entries: Entry) -> None:
        for entry in entries:
            for tracker in self._trackers:
                tracker.put(entry)

    def _begin(self, claim: Claim) -> Begin:
        lease, request = claim.lease, claim.request
        name = request.suffix or f"{request.model.id.rstrip('/').rpartition('/')[2]} {request.prune.strategy}"
        tags = {
            "layercut.tenant": lease.tenant,
            "layercut.attempt": str(lease.attempt),
            "layercut.version": self._version,
            "layercut.model": request.model.id,
            "layercut.model_commit": claim.resolved.model.revision or "",
            "layercut.task": request.task.label,
            "layercut.request_id": claim.request_id or "",
            "layercut.url": self._link(lease.job_id),
            **{f"metadata.{key}": value for key, value in request.metadata.items()},
        }
        known = {key: value for key, value in tags.items() if value}
        return Begin(
            lease.job_id, lease.attempt, lease.tenant, f"{name} {lease.job_id[-6:]}", self._link(lease.job_id), known,
            params_of(claim.resolved),
        )  # fmt: skip

    def _link(self, job_id: str) -> str:
        return f"{self._public_url}/v1/jobs/{job_id}"

    def _entries(self, event: NewEvent) -> list[Entry]:
        match event.data:
            case StageData() as at if not at.skipped:
                self._stage = at.stage
                other = at.seed is not None and at.seed != self._first_seed
                self._curve = f"{at.stage}/seed_{at.seed}" if other else at.stage.value
            case Progress() as progress if self._stage in CURVES and progress.step is not None:
                values = {"loss": progress.loss, "epoch": progress.epoch}
                named = finite({f"{self._curve}/{name}": value for name, value in values.items()})
                return [Point(named, progress.step, time.time())] if progress.loss is not None else []
            case ResolvedRequest() as resolved:
                return [Params(params_of(resolved))]
            case MetricData() as metric if metric.of is None:
                named = finite({f"{metric.side}/{metric.name}": metric.value})
                return [Point(named, None, time.time())] if named else []
        return []


def _end(job: Job) -> End:
    said = job.result.verdict if job.result else job.error.message if job.error else job.status_reason or ""
    tags = {
        "layercut.status": job.status.value,
        "layercut.verdict": job.result.verdict if job.result else "",
        "layercut.outcome": (job.result and job.result.outcome) or "",
        "layercut.error": job.error.code if job.error and job.status == Status.FAILED else "",
    }
    return End(STATUSES[job.status], said, {name: value for name, value in tags.items() if value})


def _of_files(folder: Path) -> list[Entry]:
    text, card = _read(folder, REPORT), _read(folder, CARD)
    report, now = Report.model_validate_json(text), time.time()
    return [
        Point(metrics_of(report), None, now),
        *(Point(values, drop, now) for drop, values in curve_of(report).items() if values),
        Files({REPORT: text, CARD: card}),
    ]


def _read(folder: Path, name: str) -> str:
    with open_regular(folder, name) as file:
        content = file.read(LONGEST_FILE + 1)
    if len(content) > LONGEST_FILE:
        raise ValueError(f"{name} is too long")
    return content.decode()

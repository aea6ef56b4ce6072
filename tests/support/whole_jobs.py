"""Whole jobs in this process: what is told, and what is delivered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from api_schemas.events import EventType, NewEvent
from api_schemas.reports import Report
from api_schemas.requests import JobRequest
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings

KIND = ("a lovely, moving film", "full of wit and warmth", "a joy from the first scene to the last")
UNKIND = ("a dull and lifeless story", "the plot makes no sense", "late again and no one could say why")


class Delivered:
    """What a job told, and the files it left."""

    def __init__(self, events: list[NewEvent], out: Path) -> None:
        self.events = events
        self.folder = out / "artifact"
        self.archive = out / events[-1].data.artifact.archive
        self.report = Report.model_validate_json((self.folder / "report.json").read_text())

    def details(self) -> dict[str, str]:
        """What each check of the verification said."""
        return {check.name: check.detail for check in self.report.verification.checks}

    def stages(self, *, skipped: bool) -> list[str]:
        told = [event.data for event in self.events if event.type == EventType.STAGE]
        return [data.stage for data in told if data.skipped is skipped]


def carry_out(body: dict[str, Any], settings: WorkerSettings, told: list[NewEvent] | None = None) -> Delivered:
    """``told``: where its events go, for who wants those of a job that fails."""
    events: list[NewEvent] = [] if told is None else told
    out = settings.data_dir / "out"
    out.mkdir()
    request = JobRequest.model_validate(
        {"evaluation": {"latency": {"batch_sizes": [1], "sequence_lengths": [16]}}, **body}
    )
    run_pipeline(request, job_id="job_x", out=out, settings=settings, tell=events.append)
    assert events[-1].type == EventType.SUCCEEDED
    return Delivered(events, out)


def own(table: Path, **more: Any) -> dict[str, Any]:
    return {"dataset": str(table), "text_columns": ["text"], "label_column": "mood", **more}

"""What a job's page is made of, read from the store; each part that is missing says why, and costs no other."""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from urllib.parse import quote

from fastapi import Request
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.jobs import FileInfo, Job
from api_schemas.reports import Report
from service.edge.root_path import address
from service.pages.views.job import Found, LogView
from service.published import Published
from service.state import GatewayState
from store.jobs import JobStore

#: Of a report and of a log's end, in bytes.
MOST_REPORT, LOG_TAIL = 16 * 2**20, 16 * 1024
#: Of a job whose stages are shown; one attempt has some tens.
MOST_STAGES = 1000


def read(request: Request, state: GatewayState, own: JobStore, job: Job) -> Found:
    head = own.heads([job.id]).get(job.id)
    stage_events, _ = own.events(job.id, 0, MOST_STAGES, [EventType.STAGE])
    report, files, why_not = _published(state, own, job)
    return Found(
        stage_events=stage_events,
        last_event=head.number if head else 0,
        report=report,
        files=files,
        files_why_not=why_not,
        log=_log(own, job, head.log_end if head else 0),
        origin=str(request.base_url).rstrip("/"),
        key_needed=state.authenticator.required,
        can_draw=_can_draw(),
    )


def _published(state: GatewayState, own: JobStore, job: Job) -> tuple[Report | None, list[FileInfo], str | None]:
    if not job.status.terminal:
        return None, [], None
    try:
        found = Published(state, own, job.id)
        folder = address(f"/v1/jobs/{job.id}/files/")
        files = [FileInfo(**file.model_dump(), url=folder + quote(file.name)) for file in found.manifest.contents]
        text = found.start(found.manifest.find("report.json"), MOST_REPORT)
    except LayercutError as error:
        return None, [], error.message
    try:
        return Report.model_validate_json(text), files, None
    except ValidationError:  # of another version
        return None, files, None


def _log(own: JobStore, job: Job, end: int) -> LogView:
    try:
        page = own.log(job.id, max(0, end - LOG_TAIL), LOG_TAIL)
    except LayercutError as error:
        return LogView("", end, is_cut=False, why_not=error.message)
    text = "".join(piece.text for piece in page.data)
    begins = page.data[0].offset if page.data else 0
    return LogView(text, page.next_offset, is_cut=begins > 0)


@lru_cache(1)
def _can_draw() -> bool:
    return find_spec("matplotlib") is not None

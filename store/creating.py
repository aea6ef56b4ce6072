"""What makes a job, within a transaction: its row, what it holds of others' files, its webhook, its first event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, insert, select

from api_schemas.events import EventType, new_event
from api_schemas.jobs import Status
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from api_schemas.source_names import upload_of
from api_schemas.webhook_requests import without_secrets
from store import upload_uses, uses
from store.audit import Actor, note
from store.claims import formats_of
from store.columns import later
from store.ids import new_job_id
from store.rows import append
from store.tables import job_metadata, jobs
from store.tenants import check_room
from store.webhooks import add_for_job


class NewJob(NamedTuple):
    """``sent`` is the body as it came, ``resolved`` what will be done. ``key_fingerprint`` is of the key that its
    webhook's secret is made from. ``study`` asked for it, and ``fingerprint`` is of what decides its result,
    by the files ``inputs`` as they were: ``FileHashes.seen``.
    """

    request: JobRequest
    sent: dict[str, Any]
    resolved: ResolvedRequest
    key_fingerprint: str = ""
    study: str | None = None
    fingerprint: str | None = None
    inputs: Sequence[Sequence[Any]] = ()


def create(connection: Connection, tenant: str, new: NewJob, actor: Actor | None = None) -> str:
    """Queue a job, and say so in the audit log where an ``actor`` asks for it. Raises as ``JobStore.create``."""
    request, resolved = new.request, new.resolved
    uses.check_kept(connection, tenant, uses.sources_of(resolved))
    check_room(connection, tenant)
    moment, newest = connection.execute(select(later(), select(func.max(jobs.c.id)).scalar_subquery())).one()
    job_id = new_job_id(moment, newest)
    connection.execute(insert(jobs).values(id=job_id, tenant=tenant, **_new_row(new), **_asked_by(actor)))
    uses.hold(connection, job_id, uses.sources_of(resolved))
    upload_uses.hold(connection, job_id, uploads_of(resolved))
    if request.webhook is not None:
        add_for_job(connection, job_id, tenant, request.webhook, new.key_fingerprint)
    pairs = [{"job_id": job_id, "key": key, "value": value} for key, value in request.metadata.items()]
    if pairs:
        connection.execute(insert(job_metadata), pairs)
    append(connection, job_id, new_event(EventType.QUEUED, "queued"))
    if actor is not None:
        note(connection, actor, "job.create", job_id)
    return job_id


def uploads_of(resolved: ResolvedRequest) -> list[str]:
    """The ids of those that the job works on."""
    found = (upload_of(source.source) for source in resolved.sources)
    return [upload[0] for upload in found if upload is not None]


def _new_row(new: NewJob) -> dict[str, Any]:
    request, resolved = new.request, new.resolved
    return {
        "status": Status.QUEUED,
        "priority": request.priority,
        "model": request.model.id,
        "task": request.task.label,
        "created_at": later(),
        "queued_at": later(),
        "request": without_secrets(new.sent),
        "pinned": resolved.model_dump(mode="json"),
        "resolved": resolved.without_places.model_dump(mode="json"),
        "progress": {},
        "attempt": 0,
        "max_attempts": request.limits.max_attempts,
        "max_queue_seconds": request.limits.max_queue_seconds,
        "formats": formats_of(request),
        "queue_expires_at": later(request.limits.max_queue_seconds),
        # Whoever creates a job sends its wake-up; only where that is lost is another due.
        "woken_at": later(),
        "last_event": 0,
        "study_id": new.study,
        "fingerprint": new.fingerprint,
        "inputs": [list(state) for state in new.inputs],
    }


def _asked_by(actor: Actor | None) -> dict[str, Any]:
    return {} if actor is None else {"request_id": actor.request_id, "traceparent": actor.traceparent}

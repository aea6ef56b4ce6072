"""Logs of jobs: written by whoever holds the lease, in pieces at offsets in bytes; the oldest pieces go first."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from api_schemas.errors import LayercutError
from api_schemas.jobs import Status
from api_schemas.logs import LogPage, LogPiece
from store.columns import later
from store.leases import Lease, LeaseLost, held
from store.rows import not_found, owned
from store.tables import job_logs, jobs

#: Of one piece, in bytes.
PIECE_BYTES = 64 * 1024
#: Of one page, whatever its bytes.
MOST_PIECES = 1000
#: Of a page: room for a whole character after the rest of one that ``offset`` lies in.
LEAST_BYTES = 8

_ENDS = (jobs.c.id, jobs.c.log_start, jobs.c.log_end, jobs.c.status)


def log_end(connection: Connection, lease: Lease) -> int:
    """Where the next piece goes; raises ``LeaseLost``."""
    end = connection.scalar(select(jobs.c.log_end).where(held(lease)))
    if end is None:
        raise LeaseLost(lease)
    return int(end)


def write_log(connection: Connection, lease: Lease, text: str, at: int, keep: int) -> int:
    """Write one piece, of at most ``PIECE_BYTES``, at the log's end ``at``; returns the new end.

    Asked twice, it writes once: a database that went away may have written what it did not confirm. Of the log at most
    ``keep`` bytes are kept. Raises ``LeaseLost``.
    """
    row = connection.execute(select(*_ENDS).where(held(lease)).with_for_update()).first()
    if row is None:
        raise LeaseLost(lease)
    end = at + len(text.encode())
    if row.log_end == at:
        piece = {"job_id": lease.job_id, "start": at, "attempt": lease.attempt, "text": text}
        connection.execute(insert(job_logs).values(**piece, created_at=later()))
        start = max(row.log_start, _trim(connection, lease.job_id, row.log_start, end, keep))
        connection.execute(update(jobs).where(jobs.c.id == lease.job_id).values(log_end=end, log_start=start))
    return end


def _trim(connection: Connection, job_id: str, start: int, end: int, keep: int) -> int:
    """Remove what does not fit; where the log begins from then on."""
    if end - start <= keep:
        return start
    mine = job_logs.c.job_id == job_id
    connection.execute(delete(job_logs).where(mine, job_logs.c.start < end - keep))
    oldest = connection.scalar(select(func.min(job_logs.c.start)).where(mine))
    return end if oldest is None else int(oldest)


def read_log(connection: Connection, job_id: str, tenant: str | None, offset: int, limit: int) -> LogPage:
    """What was said from ``offset`` on, at most ``limit`` bytes; from where the log begins, if that is later. Past the
    end it is empty. No character is cut.

    Raises ``job_not_found``, and ``expired`` for an ended job of whose log nothing is left.
    """
    job = connection.execute(select(*_ENDS).where(owned(job_id, tenant))).first()
    if job is None:
        raise not_found(job_id)
    ended = Status(job.status).terminal
    if ended and job.log_start == job.log_end > 0:
        raise LayercutError("expired", "the log was kept for its time, and is gone")
    offset = min(max(offset, job.log_start), job.log_end)
    rows = _rows(connection, job_id, offset, max(limit, LEAST_BYTES)) if offset < job.log_end else []
    pieces = _cut(rows, offset, max(limit, LEAST_BYTES))
    at = pieces[-1].end if pieces else int(job.log_end)
    return LogPage(data=pieces, next_offset=at, start=job.log_start, complete=ended and at >= job.log_end)


def _rows(connection: Connection, job_id: str, offset: int, limit: int) -> list[Row[Any]]:
    """The pieces that have a byte in the range."""
    mine = job_logs.c.job_id == job_id
    first = select(func.max(job_logs.c.start)).where(mine, job_logs.c.start <= offset).scalar_subquery()
    within = (job_logs.c.start >= func.coalesce(first, offset), job_logs.c.start < offset + limit)
    query = select(job_logs).where(mine, *within).order_by(job_logs.c.start).limit(MOST_PIECES)
    return list(connection.execute(query))


def _cut(rows: list[Row[Any]], offset: int, limit: int) -> list[LogPiece]:
    pieces = []
    for row in rows:
        skipped, text = _within(row.text.encode(), max(offset - row.start, 0), offset + limit - row.start)
        if text:
            at = row.start + skipped
            pieces.append(LogPiece(offset=at, attempt=row.attempt, created_at=row.created_at, text=text))
    return pieces


def _within(data: bytes, first: int, end: int) -> tuple[int, str]:
    """The whole characters between two offsets, and how many bytes lie before them."""
    while first < len(data) and data[first] & 0xC0 == 0x80:
        first += 1
    return first, data[first:end].decode("utf-8", "ignore")

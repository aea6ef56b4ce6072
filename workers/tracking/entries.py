"""What is told of a job to whoever tracks it, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: How an attempt leaves its run: to the next attempt, to one that may be at work on it already, or ended.
RunStatus = Literal["queued", "lost", "succeeded", "failed", "cancelled"]


@dataclass(frozen=True)
class Begin:
    """An attempt begins. Each attempt of a job goes on in the run of the one before.

    ``group`` is the tenant, ``link`` the job's address. What is in ``params`` stays; ``tags`` may change with each.
    """

    job_id: str
    attempt: int
    group: str
    name: str
    link: str
    tags: Mapping[str, str]
    params: Mapping[str, str]


@dataclass(frozen=True)
class Params:
    """More of what the job is made of is known; what was told before may be among them."""

    values: Mapping[str, str]


@dataclass(frozen=True)
class Point:
    """Numbers by name, taken ``at`` seconds since 1970: of curves at ``step``, or (None) of the run as a whole."""

    values: Mapping[str, float]
    step: int | None
    at: float


@dataclass(frozen=True)
class Files:
    """Texts by the name of their file."""

    texts: Mapping[str, str]


@dataclass(frozen=True)
class End:
    """The attempt has ended. ``summary`` is one sentence for people."""

    status: RunStatus
    summary: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


Entry = Begin | Params | Point | Files | End

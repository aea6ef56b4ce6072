"""What the client raises."""

from __future__ import annotations

from api_schemas.errors import FieldError, Problem
from api_schemas.jobs import Job
from api_schemas.studies.shown import Study


class ClientError(Exception):
    """The family of all of them."""


class LayercutApiError(ClientError):
    """The service refused. ``code`` is one of `docs/api.md`, and None where what refused was none of ours (a proxy);
    ``errors`` are the fields to blame, ``problem`` the whole body.
    """

    def __init__(
        self,
        status: int,
        code: str | None,
        detail: str,
        *,
        problem: Problem | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(f"{detail} ({code or 'no code'}, status {status})")
        self.status, self.code, self.detail, self.problem = status, code, detail, problem
        self.errors: list[FieldError] = [] if problem is None else problem.errors
        self.request_id = request_id

    @property
    def offset(self) -> int | None:
        """Of an upload that is to go on elsewhere."""
        found = (self.problem.model_extra or {}).get("offset") if self.problem else None
        return found if type(found) is int else None


class Unreachable(ClientError):
    """Nobody answered, or not to the end, for as long as was waited."""


class InvalidAnswer(ClientError):
    """What answered does not speak as layercut does, or says what cannot be."""


class DamagedFile(ClientError):
    """A file that came whole, and is not what was announced."""


class WaitTimeout(ClientError, TimeoutError):
    """The job had not ended in time. ``job`` is as it was then."""

    def __init__(self, job: Job, seconds: float) -> None:
        super().__init__(f"{job.id} is {job.status} after {seconds:g} s")
        self.job = job


class StudyTimeout(ClientError, TimeoutError):
    """The study had not come to rest in time. ``study`` is as it was then."""

    def __init__(self, study: Study, seconds: float) -> None:
        super().__init__(f"{study.id} is {study.status} after {seconds:g} s")
        self.study = study


class Broken(Exception):
    """Within the client: no answer came, or it ended early."""

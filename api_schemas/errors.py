"""One family of errors. A code stands in one table with its HTTP status and whether trying again can help.

The same code is a problem+json body when a request is refused, and ``job.error`` when an accepted job fails.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field


@dataclass(frozen=True)
class ErrorKind:
    code: str
    status: int
    title: str
    retryable: bool = False


# fmt: off
ERRORS: dict[str, ErrorKind] = {
    kind.code: kind
    for kind in (
        ErrorKind("malformed_request", 400, "The body is not what this call takes"),
        ErrorKind("invalid_cursor", 400, "The cursor was not made by this list"),
        ErrorKind("unauthorized", 401, "A key is needed, and none that is valid was sent"),
        ErrorKind("cross_site", 403, "A page of another site may not call this service"),
        ErrorKind("forbidden", 403, "The key may not do this"),
        ErrorKind("csrf_refused", 403, "The token that shows who filled in the form is missing or wrong"),
        ErrorKind("job_not_found", 404, "There is no such job"),
        ErrorKind("study_not_found", 404, "There is no such study"),
        ErrorKind("figure_unavailable", 404, "There is nothing to draw this figure from"),
        ErrorKind("file_not_found", 404, "There is no such file"),
        ErrorKind("revision_not_found", 404, "What the job delivered has no such revision"),
        ErrorKind("upload_not_found", 404, "There is no such upload"),
        ErrorKind("key_not_found", 404, "There is no such key"),
        ErrorKind("webhook_not_found", 404, "There is no such webhook"),
        ErrorKind("delivery_not_found", 404, "There is no such delivery"),
        ErrorKind("not_found", 404, "There is nothing at this address"),
        ErrorKind("method_not_allowed", 405, "This address does not take this method"),
        ErrorKind("not_acceptable", 406, "None of the asked-for media types can be made"),
        ErrorKind("request_timeout", 408, "The request did not come in time", retryable=True),
        ErrorKind("job_already_terminal", 409, "The job has ended"),
        ErrorKind("job_not_terminal", 409, "The job has not ended"),
        ErrorKind("job_not_retryable", 409, "The job cannot be tried again"),
        ErrorKind("job_in_use", 409, "Another job works on the files of this one"),
        ErrorKind("study_not_ended", 409, "The study has not ended"),
        ErrorKind("study_ended", 409, "The study has ended"),
        ErrorKind("request_in_progress", 409, "The first request with this key is under way", retryable=True),
        ErrorKind("upload_not_ready", 409, "The upload is not complete"),
        ErrorKind("upload_complete", 409, "The upload is complete, and takes no more"),
        ErrorKind("upload_offset_mismatch", 409, "The part does not begin where the file ends"),
        ErrorKind("upload_in_use", 409, "A job works on the upload"),
        ErrorKind("result_not_ready", 409, "The job has no result yet"),
        ErrorKind("expired", 410, "It was kept for its time, and is gone"),
        ErrorKind("payload_too_large", 413, "The body is too large"),
        ErrorKind("uri_too_long", 414, "The address is too long"),
        ErrorKind("unsupported_media_type", 415, "The body's media type is not JSON"),
        ErrorKind("range_not_satisfiable", 416, "The range lies outside the file"),
        ErrorKind("misdirected", 421, "The Host is no name of this service"),
        ErrorKind("validation_failed", 422, "The request cannot be carried out"),
        ErrorKind("idempotency_key_reused", 422, "The key was used for another request"),
        ErrorKind("webhook_not_allowed", 422, "This address may not be told"),
        ErrorKind("ceiling_passed", 422, "More is asked for than this service does"),
        ErrorKind("study_too_large", 422, "The lists make more cells than a study may have"),
        ErrorKind("cells_impossible", 422, "Cells of the study cannot be"),
        ErrorKind("unknown_strategy", 422, "There is no such strategy"),
        ErrorKind("unknown_task", 422, "There is no such task"),
        ErrorKind("invalid_layers", 422, "These layers cannot be dropped"),
        ErrorKind("unsupported_architecture", 422, "The architecture is not supported"),
        ErrorKind("upload_hash_mismatch", 422, "The bytes that came are not those that were announced"),
        ErrorKind("archive_invalid", 422, "The archive cannot be unpacked"),
        ErrorKind("unsupported_format", 422, "The model cannot be written in this format"),
        ErrorKind("model_not_found", 422, "There is no such model"),
        ErrorKind("model_not_allowed", 422, "The model may not be used"),
        ErrorKind("model_invalid", 422, "The model's files cannot be used"),
        ErrorKind("dataset_not_found", 422, "There is no such dataset"),
        ErrorKind("dataset_not_allowed", 422, "The dataset may not be read"),
        ErrorKind("dataset_invalid", 422, "The dataset cannot be used"),
        ErrorKind("push_not_allowed", 422, "The result may not be pushed there"),
        # Not a 5xx: the service is well, and a balancer that counts those would take it out for another's fault.
        ErrorKind("hub_unavailable", 409, "The model hub did not answer", retryable=True),
        ErrorKind("source_unavailable", 409, "The object store of a model or dataset did not answer", retryable=True),
        ErrorKind("format_unavailable", 409, "No worker writes this format", retryable=True),
        ErrorKind("queue_full", 429, "The queue is full", retryable=True),
        ErrorKind("quota_exceeded", 429, "More than the quota allows", retryable=True),
        ErrorKind("too_many_attempts", 429, "Too many keys were refused", retryable=True),
        ErrorKind("headers_too_large", 431, "The headers are too large"),
        ErrorKind("figures_not_installed", 501, "Figures need a library that is not installed"),
        ErrorKind("database_unavailable", 503, "The database does not answer", retryable=True),
        ErrorKind("storage_unavailable", 503, "The artifact store does not answer", retryable=True),
        ErrorKind("too_busy", 503, "The service has too much to do", retryable=True),
        ErrorKind("training_diverged", 500, "Training diverged"),
        ErrorKind("activations_not_finite", 500, "A layer of the model gives numbers that are not finite"),
        ErrorKind("stalled", 500, "The job made no progress", retryable=True),
        ErrorKind("too_many_events", 500, "The job told more than a job may"),
        ErrorKind("out_of_memory", 500, "The device ran out of memory"),
        ErrorKind("objective_not_met", 500, "The objective was not met"),
        ErrorKind("verification_failed", 500, "The exported model failed verification"),
        ErrorKind("export_failed", 500, "The model could not be exported"),
        ErrorKind("push_failed", 500, "The result could not be pushed to the hub"),
        ErrorKind("protocol_violation", 500, "The job's process did what no sound one does"),
        ErrorKind("storage_full", 507, "The storage is full", retryable=True),
        ErrorKind("timeout", 500, "The job ran longer than limits.max_runtime_seconds"),
        ErrorKind("queue_timeout", 500, "The job waited longer than limits.max_queue_seconds", retryable=True),
        ErrorKind("attempts_exhausted", 500, "Every attempt at the job was lost", retryable=True),
        ErrorKind("not_ready", 503, "The service is not ready", retryable=True),
        ErrorKind("internal", 500, "Something went wrong inside layercut", retryable=True),
    )
}
# fmt: on


#: Failures of a runner that breaks the worker's rules: it is given no time to leave, and what it left is not used.
RULE_BREAKERS = frozenset({"protocol_violation", "too_many_events"})

#: Of a message, in characters.
LONGEST_MESSAGE = 4000


def storable(text: str) -> str:
    """``text`` of bounded length, without what a database or UTF-8 refuses: byte 0 and halves of characters."""
    if len(text) > LONGEST_MESSAGE:
        text = f"{text[:LONGEST_MESSAGE]}…"
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


class LayercutError(Exception):
    """Something a person should read: a code of ``ERRORS``, what was wrong and what would be right.

    ``param`` is a JSON pointer into the request (``/prune/drop``), where one field is to blame. ``details`` are fields
    of the problem that a program goes on by, such as the ``offset`` of an upload.
    """

    def __init__(
        self, code: str, message: str, *, param: str | None = None, details: Mapping[str, str | int] | None = None
    ) -> None:
        self.kind = ERRORS[code]
        self.message = storable(message)
        super().__init__(self.message)
        self.param = param
        self.details = dict(details or {})

    @property
    def code(self) -> str:
        return self.kind.code


class FieldError(BaseModel):
    """One field that was wrong."""

    pointer: str = Field(description="JSON pointer into the request body, or the name of a query parameter")
    message: str = Field(description="what was wrong, and what would be right")
    code: str = Field(description="stable name of what was wrong")


class Problem(BaseModel):
    """RFC 9457 problem details."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="/problems/<name>: stable, and answers with this text")
    title: str = Field(description="what the code means")
    status: int = Field(description="the HTTP status")
    detail: str = Field(description="what was wrong, and what would be right")
    code: str = Field(description="stable name of what was wrong")
    errors: list[FieldError] = Field(default=[], description="the fields that were wrong")
    request_id: str | None = Field(default=None, description="to be found again in the logs by")


#: Addresses, tokens in the names of folders, process ids, sizes.
_OF_AN_ATTEMPT = re.compile(r"0x[0-9a-fA-F]+|[0-9a-f]{8,}|[0-9]+")


class JobError(BaseModel):
    """Why a job failed."""

    code: str = Field(description="stable name of what went wrong, as in a problem")
    message: str = Field(description="what went wrong, and what would be right")
    param: str | None = Field(default=None, description="the field of the request that is to blame, as a JSON pointer")
    retryable: bool = Field(default=False, description="whether another attempt may work")
    stage: str | None = Field(default=None, description="where the job was")

    @classmethod
    def of(cls, error: LayercutError, stage: str | None = None) -> JobError:
        return cls(
            code=error.code, message=error.message, param=error.param, retryable=error.kind.retryable, stage=stage
        )

    def is_like(self, other: JobError) -> bool:
        """Whether both are one fault: what differs between two attempts anyhow (numbers, addresses) aside."""
        return self._fault == other._fault

    @property
    def _fault(self) -> tuple[str, str | None, str]:
        return self.code, self.stage, _OF_AN_ATTEMPT.sub("#", self.message)


def problem(error: LayercutError, *, request_id: str | None = None, errors: list[FieldError] | None = None) -> Problem:
    """The body that answers ``error`` over HTTP."""
    if errors is None and error.param is not None:
        errors = [FieldError(pointer=error.param, message=error.message, code=error.code)]
    return Problem(
        type=f"/problems/{error.code.replace('_', '-')}",
        title=error.kind.title,
        status=error.kind.status,
        detail=error.message,
        code=error.code,
        errors=errors or [],
        request_id=request_id,
        **error.details,
    )

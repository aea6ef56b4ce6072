"""The lines between supervisor and runner, the job file, and which failure is which."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from api_schemas.events import EventType
from api_schemas.requests import JobRequest
from api_schemas.resolved import resolve
from tests.support.events import say
from workers.protocol import JobFile, read_event
from workers.runtime.failures import explained
from workers.settings import WorkerSettings

REQUEST = {"model": "a/b", "task": "sst2", "prune": {"strategy": "top", "drop": 2}}


def write(folder: Path, content: Any) -> Path:
    path = folder / "job.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_bare_request_is_a_job_file_too(tmp_path: Path) -> None:
    file = JobFile.read(write(tmp_path, REQUEST))
    assert (file.id, file.request.prune.drop) == (None, 2)


def test_a_job_file_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    request = JobRequest.model_validate(REQUEST)
    resolved = resolve(request, None)
    JobFile(id="job_1", request=request, resolved=resolved, attempt=2).write(tmp_path / "job.json")
    file = JobFile.read(tmp_path / "job.json")

    assert (file.id, file.attempt, file.resolved) == ("job_1", 2, resolved)
    assert file.request.model_dump(exclude_unset=True) == request.model_dump(exclude_unset=True)


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        ("{", "malformed_request", None),
        ({**REQUEST, "colour": "red"}, "validation_failed", "/colour"),
        ({"id": "job_1", "request": {**REQUEST, "seed": -1}, "resolved": None}, "validation_failed", "/seed"),
        ({**REQUEST, "prune": {"strategy": "tops"}}, "unknown_strategy", "/prune/strategy"),
    ],
)
def test_a_job_file_with_a_fault_is_told_where(tmp_path: Path, content: Any, code: str, param: str | None) -> None:
    with pytest.raises(LayercutError) as caught:
        JobFile.read(write(tmp_path, content))
    assert (caught.value.code, caught.value.param) == (code, param)


def test_a_job_file_of_the_older_form_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        LayercutError, match="job file of an older layercut: it has a request, and nothing that was res"
    ):
        JobFile.read(write(tmp_path, {"id": "job_1", "request": REQUEST, "attempt": 2}))


def test_a_job_file_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(LayercutError, match="No such file"):
        JobFile.read(tmp_path / "nothing.json")


@pytest.mark.parametrize("letter", ["x", "漢", "😀"])
def test_a_metric_of_the_longest_label_is_told(letter: str) -> None:
    label = letter * 500
    reason = f"no row has the label {label!r}, and the model gives it to none"
    told = say(
        EventType.METRIC, f"f1 (label {label!r}) is not defined: {reason}",
        name="f1", value=None, side="after", of=f"label {label!r}", reason=reason,
    )  # fmt: skip
    assert read_event(told.model_dump_json()) is not None


def test_only_a_runners_own_events_are_events() -> None:
    told = say(EventType.METRIC, "score", name="score", value=float("nan"), side="after")
    assert read_event(told.model_dump_json()) is not None
    assert read_event(say(EventType.CANCELLED, "").model_dump_json()) is None
    assert read_event("epoch 1: 100%|#####|") is None
    assert read_event("[]") is None


def _nested() -> Exception:
    try:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot save the model") from error
    except RuntimeError as error:
        return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LayercutError("dataset_invalid", "line 3"), "dataset_invalid"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 12 bytes"), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), "out_of_memory"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage_full"),
        (RuntimeError('Io(Os { code: 28, kind: StorageFull, message: "No space left on device" })'), "storage_full"),
        (_nested(), "storage_full"),
        (ZeroDivisionError("division by zero"), "internal"),
    ],
)
def test_failures_are_told_apart(error: Exception, code: str) -> None:
    assert explained(error).code == code


def test_a_heartbeat_that_comes_too_late_is_refused_at_the_start(tmp_path: Path) -> None:
    assert WorkerSettings(data_dir=tmp_path, lease_seconds=8).heartbeat_seconds == 2
    with pytest.raises(ValidationError, match="LAYERCUT_HEARTBEAT_SECONDS"):
        WorkerSettings(data_dir=tmp_path, lease_seconds=8, heartbeat_seconds=4)

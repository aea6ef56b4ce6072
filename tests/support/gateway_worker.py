"""What a worker does, done by a test: claims the job, tells events, publishes files, ends the job."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx

from api_schemas.events import EventType
from service.state import GatewayState
from store.jobs import Claim
from tests.support.events import say
from tests.support.processes import eventually
from tests.support.reports import report

REPORT = report().model_dump(mode="json")
CARD = "# A smaller model\n"
WEIGHTS = bytes(range(256)) * 400
#: What is in the artifact that `succeed` publishes.
FILES = {"README.md": CARD.encode(), "model.safetensors": WEIGHTS, "report.json": json.dumps(REPORT).encode()}

RESULT = {
    "layers_total": 6,
    "layers_kept": [0, 1, 2, 3],
    "layers_dropped": [4, 5],
    "parameters_before": 100,
    "parameters_after": 80,
    "bytes_before": 400,
    "bytes_after": 320,
    "metric": "accuracy",
    "score_before": 90.0,
    "score_after": 90.0,
    "retention": 1.0,
    "speedup": 1.5,
    "verdict": "as good as before",
}


def claim(state: GatewayState) -> Claim:
    taken = state.store.claim("worker-1")
    assert taken is not None
    return taken


def succeed(
    state: GatewayState, taken: Claim, folder: Path, /, *, found: dict[str, Any] | None = None, **more: bytes
) -> None:
    """What a worker does at the end: publish the files, and ``more`` by their paths, then point the job at them, with
    what it has ``found`` beside ``RESULT``.
    """
    export = folder / "artifact"
    export.mkdir(parents=True)
    for name, content in {**FILES, **more}.items():
        (export / name).parent.mkdir(parents=True, exist_ok=True)
        (export / name).write_bytes(content)
    prefix = taken.lease.prefix
    state.artifacts.publish(prefix, export, "layercut-bert")
    done = say(EventType.SUCCEEDED, "done", result=RESULT | (found or {}), usage={"wall_seconds": 1.0})
    state.store.finish(taken.lease, done, artifact=prefix)


def finish(state: GatewayState, study_id: str, folder: Path) -> list[str]:
    """Do whatever waits until the study's cells have ended; which jobs that were. Known cells take none."""
    done: list[str] = []

    def ended() -> bool:
        while (taken := state.store.claim("worker-1")) is not None:
            succeed(state, taken, folder / taken.lease.job_id)
            done.append(taken.lease.job_id)
        return bool(httpx.get(f"{_url(state)}/v1/studies/{study_id}", trust_env=False).json()["finished_at"])

    eventually(ended)
    return done


def _url(state: GatewayState) -> str:
    return f"http://127.0.0.1:{state.settings.port}"


def unpack(tar: bytes) -> dict[str, bytes]:
    """The files in it, by their names beneath its one folder."""
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        return {name.removeprefix("layercut-bert/"): file.read() for name, file in files.items() if file}

"""What a worker does, done by a test: claims the job, tells events, publishes files, ends the job."""

from __future__ import annotations

import json
from pathlib import Path

from api_schemas.events import EventType
from service.state import GatewayState
from store.jobs import Claim
from tests.support.events import say
from tests.support.reports import report

REPORT = report().model_dump(mode="json")
CARD = "# A smaller model\n"
WEIGHTS = bytes(range(256)) * 400
ARCHIVE = b"tar" * 50_000

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


def succeed(state: GatewayState, taken: Claim, folder: Path, **more: bytes) -> None:
    """What a worker does at the end: publish the files, and ``more`` by their paths, then point the job at them."""
    export = folder / "artifact"
    export.mkdir(parents=True)
    (export / "report.json").write_text(json.dumps(REPORT))
    (export / "README.md").write_text(CARD)
    (export / "model.safetensors").write_bytes(WEIGHTS)
    for name, content in more.items():
        (export / name).parent.mkdir(exist_ok=True)
        (export / name).write_bytes(content)
    (folder / "layercut-bert.tar").write_bytes(ARCHIVE)
    prefix = taken.lease.prefix
    state.artifacts.publish(prefix, export, folder / "layercut-bert.tar")
    done = say(EventType.SUCCEEDED, "done", result=RESULT, usage={"wall_seconds": 1.0})
    state.store.finish(taken.lease, done, artifact=prefix)

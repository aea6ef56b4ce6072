"""What was shown when a job was accepted is what is carried out, or the job says why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from api_schemas.errors import LayercutError
from api_schemas.events import EventType, NewEvent
from api_schemas.requests import JobRequest
from api_schemas.resolved import ResolvedRequest
from service.admission import admit
from service.settings import GatewaySettings
from tests.support.hub_server import HubServer
from tests.support.tiny_models import tiny_model
from workers.pipeline import run_pipeline
from workers.settings import WorkerSettings

pytestmark = pytest.mark.slow

ID = "acme/tiny-bert"
QUICK = {"latency": {"batch_sizes": []}}


def published(hub: HubServer, folder: Path, **model: Any) -> dict[str, bytes]:
    """A tiny BERT on the hub's main branch; its files."""
    tiny_model("bert", folder, head="base", **model)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub.add(ID, files)
    return files


def accepted(model: str, folder: Path, **more: Any) -> tuple[JobRequest, ResolvedRequest]:
    """As the gateway takes it."""
    request = JobRequest.model_validate(
        {"model": model, "task": "none", "prune": {"drop": 2}, "evaluation": QUICK, **more}
    )
    return request, admit(request, GatewaySettings(data_dir=folder, model_roots=[folder]))


def carried_out(request: JobRequest, resolved: ResolvedRequest, folder: Path) -> list[NewEvent]:
    """As a worker does it, later."""
    events: list[NewEvent] = []
    settings = WorkerSettings(data_dir=folder, model_roots=[folder], device="cpu")
    run_pipeline(request, resolved=resolved, job_id="job_x", out=folder / "out", settings=settings, tell=events.append)
    return events


def test_a_branch_that_moved_changes_nothing_of_a_job_that_was_accepted(hub: HubServer, tmp_path: Path) -> None:
    published(hub, tmp_path / "then", seed=1)
    request, resolved = accepted(ID, tmp_path)
    published(hub, tmp_path / "now", seed=2, layers=8)
    events = carried_out(request, resolved, tmp_path)

    left = load_file(tmp_path / "out" / "artifact" / "model.safetensors")
    then = load_file(tmp_path / "then" / "model.safetensors")
    assert all(weight.equal(then[name]) for name, weight in left.items())
    shown = [event.data for event in events if event.type == EventType.RESOLVED]
    assert all(one.plan == resolved.plan for one in shown)
    assert {one.model.revision for one in shown} == {resolved.model.revision}


def test_a_commit_that_the_hub_has_no_more_fails_the_job_and_says_so(hub: HubServer, tmp_path: Path) -> None:
    published(hub, tmp_path / "then", seed=1)
    request, resolved = accepted(ID, tmp_path)
    published(hub, tmp_path / "now", seed=2)
    assert resolved.model.revision is not None
    hub.forget(ID, resolved.model.revision)
    with pytest.raises(LayercutError, match="of the main branch when the job was accepted, and was pinned") as caught:
        carried_out(request, resolved, tmp_path)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "/model/revision")


def test_a_folder_that_holds_another_model_by_now_fails_the_job(tmp_path: Path) -> None:
    tiny_model("bert", tmp_path / "model", head="base")
    request, resolved = accepted(str(tmp_path / "model"), tmp_path)
    tiny_model("bert", tmp_path / "model", head="base", layers=4)
    with pytest.raises(LayercutError, match=r"layers was 6, and is 4 now\. POST the job again"):
        carried_out(request, resolved, tmp_path)


def test_a_plan_that_goes_by_importance_gets_its_layers_and_keeps_the_rest(tmp_path: Path) -> None:
    tiny_model("bert", tmp_path / "model", head="base")
    request, resolved = accepted(
        str(tmp_path / "model"), tmp_path, prune={"strategy": "parameter_aggregate", "drop": 2}
    )
    plans = [event.data.plan for event in carried_out(request, resolved, tmp_path) if event.type == EventType.RESOLVED]
    assert resolved.plan is not None
    assert plans[0] == resolved.plan
    assert plans[0].dropped is None
    open_fields = {
        "kept", "dropped", "importance", "parameters_after", "bytes_after", "expected_speedup", "warnings",
    }  # fmt: skip
    assert plans[-1].model_dump(exclude=open_fields) == plans[0].model_dump(exclude=open_fields)
    assert len(plans[-1].dropped) == 2

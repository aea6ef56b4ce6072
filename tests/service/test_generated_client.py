"""A client that a stock generator makes of the OpenAPI document: it submits, polls, and reads results by attribute."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from api_schemas.events import EventType
from service.state import GatewayState
from tests.support.events import say
from tests.support.gateway_worker import FILES, claim, succeed, unpack

pytestmark = pytest.mark.slow

PACKAGE = "layercut_client"


@pytest.fixture
def address(live: tuple[str, GatewayState]) -> str:
    return live[0]


#: As docs/client.md has it: the generator knows no images.
CONFIG = """\
post_hooks: []
content_type_overrides:
  image/svg+xml: application/octet-stream
  image/png: application/octet-stream
"""


@pytest.fixture
def generated(address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], ModuleType]]:
    """Imports a module of the client, by its name inside the package."""
    document, config = tmp_path / "openapi.json", tmp_path / "config.yml"
    document.write_text(json.dumps(httpx.get(f"{address}/openapi.json", trust_env=False).json()))
    config.write_text(CONFIG)
    done = subprocess.run(
        [
            sys.executable, "-m", "openapi_python_client", "generate", "--path", document, "--config", config,
            "--meta", "none", "--output-path", tmp_path / PACKAGE, "--fail-on-warning",
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(tmp_path)
    yield lambda name: importlib.import_module(f"{PACKAGE}.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def client(generated: Callable[[str], ModuleType], address: str) -> Iterator[Any]:
    with generated("client").Client(base_url=address, httpx_args={"trust_env": False}) as client:
        yield client


def test_a_job_from_its_request_to_its_files(
    generated: Callable[[str], ModuleType], client: Any, live: tuple[str, GatewayState], body: dict[str, Any],
    tmp_path: Path,
) -> None:  # fmt: skip
    state = live[1]
    models = generated("models")
    request = models.JobRequest(
        model=body["model"], task="none", prune=models.PruneSpec(strategy="top", drop=2),
        evaluation=models.EvaluationSpec(latency=models.LatencySpec(batch_sizes=[])),
        recovery=models.RecoverySpec(batch_size=16, max_length=8),
    )  # fmt: skip
    job = generated("api.jobs.create_job").sync(client=client, body=request)
    assert isinstance(job, models.Job)
    assert (job.status, job.request.prune.drop) == ("queued", 2)
    assert (job.resolved.plan.kept, job.resolved.plan.dropped) == ([0, 1, 2, 3], [4, 5])
    assert (job.request.recovery.batch_size, job.request.recovery.max_length) == (16, 8)
    assert (job.resolved.recovery.method, job.resolved.recovery.batch_size) == ("none", 16)

    taken = claim(state)
    state.store.record(taken.lease, say(EventType.STAGE, stage="pruning"))
    state.store.record(taken.lease, say(EventType.METRIC, name="accuracy", value=91.5, side="after"))
    succeed(state, taken, tmp_path / "scratch")
    done = generated("api.jobs.get_job").sync(job.id, client=client)
    assert (done.status, done.result.layers_kept, done.result.retention) == ("succeeded", [0, 1, 2, 3], 1.0)
    assert done.resolved.plan == job.resolved.plan

    events = generated("api.events.list_events").sync(job.id, client=client).data
    assert [type(event).__name__ for event in events] == [
        "QueuedEvent", "StartedEvent", "StageEvent", "MetricEvent", "SucceededEvent",
    ]  # fmt: skip
    assert (events[2].data.stage, events[3].data.value) == ("pruning", 91.5)

    report = generated("api.artifacts.get_report").sync(job.id, client=client)
    assert isinstance(report, models.Report)
    assert (report.layers.dropped, report.after.parameters) == ([6, 7, 8, 9], 81_131_522)
    assert (report.model.architecture, report.strategy.name, report.recovery.method) == ("bert", "explicit", "distill")
    assert report.data.splits["train"].rows == 67349
    assert report.verification.checks[0].name == "hashes"

    archive = generated("api.artifacts.download").sync(job.id, client=client)
    assert unpack(archive.payload.read()).keys() == FILES.keys()


def test_what_is_left_out_is_left_to_the_service(
    generated: Callable[[str], ModuleType], client: Any, body: dict[str, Any]
) -> None:
    models, create = generated("models"), generated("api.jobs.create_job")
    job = create.sync(client=client, body=models.JobRequest(model=body["model"], task="none"))
    assert isinstance(job, models.Job)
    assert job.resolved.plan.dropped == [4, 5]
    named = models.JobRequest(
        model=body["model"], task=models.TaskName.SST2, recovery=models.RecoveryMethodName.FINETUNE,
        prune=models.PruneSpec(strategy=models.StrategyName.ALTERNATE_ODD, drop_ratio="33%"),
    )  # fmt: skip
    job = create.sync(client=client, body=named)
    assert isinstance(job, models.Job)
    assert (job.resolved.task.name, job.resolved.prune.drop_ratio) == (models.TaskName.SST2, 0.33)
    assert (job.resolved.plan.dropped, job.resolved.recovery.method) == ([2, 4], "finetune")
    assert job.request.prune.drop_ratio == "33%"


def test_a_job_of_a_hurry_is_read(
    generated: Callable[[str], ModuleType], client: Any, live: tuple[str, GatewayState], body: dict[str, Any]
) -> None:
    hurried = {**body, "task": "SST-2", "prune": "Alternate-Odd"}
    assert httpx.post(f"{live[0]}/v1/jobs", json=hurried, trust_env=False).status_code == 202
    (job,) = generated("api.jobs.list_jobs").sync(client=client).data
    assert (job.request.task, job.resolved.task.name) == ("SST-2", "sst2")


def test_a_plan_and_a_problem(generated: Callable[[str], ModuleType], client: Any, body: dict[str, Any]) -> None:
    models, create = generated("models"), generated("api.plans.create_plan")

    def ask(drop: int) -> Any:
        prune = models.PruneSpec(strategy="top", drop=drop)
        return create.sync(client=client, body=models.PlanRequest(model=body["model"], prune=prune))

    plan, problem = ask(2), ask(6)
    assert isinstance(plan, models.PlanAnswer)
    assert (plan.dropped, plan.model.layers) == ([4, 5], 6)
    assert isinstance(problem, models.Problem)
    assert (problem.code, problem.errors[0].pointer) == ("invalid_layers", "/prune/drop")

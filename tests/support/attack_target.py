"""A real gateway to attack, with secrets around it that must never come out, and what holds after every attack."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.settings import GatewaySettings
from service.state import open_state
from tests.support.gateway_worker import claim, succeed
from tests.support.processes import eventually
from tests.support.serve_process import LAYERCUT, environment
from tests.support.tiny_checkpoints import bert_files

SECONDS = 5.0
PROBE_SECONDS = 1.0
PROBLEM = "application/problem+json"
#: Of what no answer may tell: where our code lies, whose machine it is.
PLACES = ("site-packages", "/root/", "/proc/self", "Traceback", sys.prefix)
CSV = "text,label\n" + "".join(f"a {word} film,{label}\n" for word, label in (("good", 1), ("bad", 0)) * 20)


@dataclass(frozen=True)
class Answer:
    """``status`` 0: the connection was closed without an answer."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float
    closed: bool = False

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def code(self) -> str | None:
        try:
            found = json.loads(self.body)
        except ValueError:
            return None
        return found.get("code") if isinstance(found, dict) else None

    def __str__(self) -> str:
        return f"{self.status} {self.code or ''} after {self.seconds:.2f} s: {self.text[:600]!r}"


@dataclass(frozen=True)
class Expected:
    """What must come back. ``codes`` empty: any, or no problem at all. ``words``: all of them, in the body."""

    statuses: Collection[int]
    codes: Collection[str] = ()
    words: Collection[str] = ()
    #: The attack is one on time: what else comes back does not matter.
    also: Collection[int] = field(default=())


@dataclass
class Target:
    """``known`` is a job in the queue, ``done`` one with an artifact."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    token: str
    known: str = ""
    done: str = ""

    @property
    def models(self) -> Path:
        return self.folder / "roots" / "models"

    @property
    def tables(self) -> Path:
        return self.folder / "roots" / "tables"

    @property
    def outside(self) -> Path:
        return self.folder / "outside"

    @property
    def door(self) -> Path:
        """``outside`` by a name of its own: what a model says itself may be in an answer, and is no leak."""
        return Path(f"/tmp/layercut-attack-{self.port}")

    @property
    def log(self) -> Path:
        return self.folder / "gateway.log"

    def ask(
        self, method: str, path: str, body: bytes | str | None = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request as http.client sends it, on a connection of its own."""
        started = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            return _read(connection.getresponse(), started)
        except TimeoutError:
            return Answer(0, {}, b"", time.monotonic() - started)
        except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
            # Refused before all of it was sent, and the answer went with the connection.
            return Answer(0, {}, b"", time.monotonic() - started, closed=True)
        finally:
            connection.close()

    def post(self, body: Any, path: str = "/v1/jobs", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.ask("POST", path, json.dumps(body), {"Content-Type": "application/json", **named})

    def raw(self, sent: bytes, *, method: str = "GET", end: bool = False) -> Answer:
        """These bytes, and what comes back. ``end``: nothing follows them. ``closed`` is whether the connection was."""
        started = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as line:
            try:
                line.sendall(sent)
                if end:
                    line.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # refused before all of it was sent
            try:
                response = http.client.HTTPResponse(line, method=method)
                response.begin()
                answer = _read(response, started)
            except (http.client.HTTPException, OSError):
                return Answer(0, {}, b"", time.monotonic() - started, closed=True)
            return Answer(answer.status, answer.headers, answer.body, answer.seconds, _is_closed(line))

    def get_json(self, path: str) -> Any:
        return json.loads(self.ask("GET", path).body)

    def ended(self, job_id: str, seconds: float = 120) -> dict[str, Any]:
        def terminal() -> Any:
            job = self.get_json(f"/v1/jobs/{job_id}")
            return job if job["status"] in ("succeeded", "failed", "cancelled") else None

        found: dict[str, Any] = eventually(terminal, seconds)
        return found

    def check(self, attack: str, answer: Answer, expected: Expected, sent: Any = "") -> None:
        """The answer is the one that was expected, and nothing of the gateway is the worse for it."""
        said = f"{attack}: expected {expected.statuses} {expected.codes or ''}, got {answer}"
        assert answer.seconds < SECONDS, f"too slow. {said}"
        assert answer.status < 500, f"the server's own fault. {said}"
        assert answer.status in expected.statuses or answer.status in expected.also, said
        if answer.status >= 400:
            if answer.body:
                kind = answer.headers.get("content-type", "")
                assert kind == PROBLEM, f"no problem+json but {kind!r}. {said}"
                assert answer.status in expected.also or not expected.codes or answer.code in expected.codes, said
            missing = [word for word in expected.words if word not in answer.text]
            assert answer.status in expected.also or not missing, f"says nothing of {missing}. {said}"
        self.check_secrets(said, answer.text, sent)
        self.check_alive(said)

    def check_secrets(self, said: str, text: str, sent: Any = "") -> None:
        assert self.token not in text, f"THE SECRET CAME OUT. {said}"
        for known in sorted(_texts([sent, honest_job(self)]), key=len, reverse=True):
            text = text.replace(json.dumps(known)[1:-1], "").replace(known, "")
        leaks = [place for place in (str(self.folder), *PLACES) if place in text]
        assert not leaks, f"tells of {leaks}. {said}"

    def check_alive(self, said: str) -> None:
        for path in ("/healthz", f"/v1/jobs/{self.known}"):
            answer = self.ask("GET", path)
            assert answer.status == 200, f"after it, GET {path} is {answer}. {said}"
            assert answer.seconds < PROBE_SECONDS, f"after it, GET {path} took {answer.seconds:.2f} s. {said}"
        if json.loads(answer.body)["status"] != "queued":
            self.known = _posted(self, honest_job(self))  # so that the next attack is judged by itself
            raise AssertionError(f"the known job was touched. {said}")

    def check_kept(self) -> None:
        """The secret is in nothing that was written: the database, artifacts, scratch, the log."""
        files = [path for path in (self.folder / "data").rglob("*") if path.is_file() and not path.is_symlink()]
        found = [path for path in (*files, *self.folder.glob("*.log")) if self.token.encode() in path.read_bytes()]
        assert not found, f"the secret is in {found}"


@contextmanager
def target(folder: Path, **settings: object) -> Iterator[Target]:
    """A gateway on its own, started with secrets in its environment and beside its roots."""
    token = secrets.token_hex(16)
    for name in ("roots/models", "roots/tables", "outside", "data"):
        (folder / name).mkdir(parents=True)
    values = {
        "data_dir": folder / "data", "model_roots": folder / "roots/models", "data_roots": folder / "roots/tables",
        "hub_timeout_seconds": 1, "glue_dir": "", **settings,
    }  # fmt: skip
    made = {**environment(**values), "CANARY": token, "HF_TOKEN": f"hf_{token}", "HF_HOME": str(folder / "hub-home")}
    made.update({name: str(value) for name, value in settings.items() if name.isupper()})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    with (folder / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [*LAYERCUT, "gateway", "--port", str(port)], env=made, stdout=log, stderr=log, stdin=subprocess.DEVNULL
        )
    site = Target(folder, port, process, token)
    try:
        write_outside(site)
        eventually(lambda: _healthy(port), seconds=60)
        write_known(site)
        yield site
    finally:
        site.door.unlink(missing_ok=True)
        process.kill()
        process.wait(30)


def write_outside(site: Target) -> None:
    """Beside the roots: a secret as text, JSON, CSV and template, and a whole model that has it in its files."""
    (site.outside / "secret.txt").write_text(f"{site.token}\n")
    (site.outside / "secret.json").write_text(json.dumps({"model_type": "bert", "secret": site.token}))
    (site.outside / "secret.csv").write_text(f"text,label\n{site.token},1\n{site.token},0\n" * 20)
    (site.outside / "model").mkdir()
    site.door.symlink_to(site.outside)
    for name, content in bert_files().items():
        (site.outside / "model" / name).write_bytes(content)
    (site.outside / "model" / "vocab.txt").write_text(f"[PAD]\n{site.token}\n")


def write_known(site: Target) -> None:
    """Two jobs to look at: one that has ended, and one that waits for ever."""
    honest_model(site.models / "honest")
    (site.tables / "honest.csv").write_text(CSV)
    site.done = _posted(site, honest_job(site))
    settings = GatewaySettings(data_dir=site.folder / "data", database_url="", broker_url="", artifacts_url="")
    state = open_state(settings)
    try:
        succeed(state, claim(state), site.folder / "made")
    finally:
        state.engine.dispose()
    site.known = _posted(site, honest_job(site))


def honest_job(site: Target) -> dict[str, Any]:
    return {"model": str(site.models / "honest"), "task": "none", "prune": {"strategy": "top", "drop": 1}}


def honest_model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name, content in bert_files().items():
        (folder / name).write_bytes(content)
    return folder


def _posted(site: Target, body: Any) -> str:
    answer = site.post(body)
    assert answer.status == 202, f"an honest job was refused: {answer}"
    return str(json.loads(answer.body)["id"])


def _healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == httpx.codes.OK
    except httpx.TransportError:
        return False


def _read(response: http.client.HTTPResponse, started: float) -> Answer:
    try:
        body = response.read()
    except http.client.IncompleteRead as error:
        body = error.partial
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, body, time.monotonic() - started)


def _is_closed(line: socket.socket) -> bool:
    """Whether the server ends the connection, or has ended it: nothing more comes, and soon."""
    line.settimeout(0.3)
    try:
        return line.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def _texts(value: Any) -> Iterator[str]:
    """What a client sent may be in an answer."""
    if isinstance(value, (str, os.PathLike)):
        yield from filter(None, (str(value),))
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (*_texts(key), *_texts(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)

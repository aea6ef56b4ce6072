"""A hub that lies: names that climb, bodies without end, redirects to where we alone can reach."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support.attack_target import Expected, Target, target
from tests.support.hub_server import HubServer, Trick, described, says, without_end
from tests.support.tiny_checkpoints import bert_config, bert_files

pytestmark = pytest.mark.attack

#: What cannot be known now is decided by the worker, as of a hub that is silent.
SAFE = Expected((202, 409, 422))


def named(*names: Any, size: Any = 10) -> Trick:
    return described([{"rfilename": name, "size": size} for name in ("config.json", "model.safetensors", *names)])


class Inside:
    """A service of this machine that only we can reach; it remembers who came."""

    def __init__(self) -> None:
        self.came: list[tuple[str, str | None]] = []
        inside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                inside.came.append((self.path, self.headers.get("Authorization")))
                says(200, json.dumps(bert_config()).encode())(self)

            do_HEAD = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture(scope="module")
def hub() -> Iterator[HubServer]:
    with HubServer() as made:
        yield made


@pytest.fixture(scope="module")
def inside() -> Iterator[Inside]:
    made = Inside()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def hub_site(tmp_path_factory: pytest.TempPathFactory, hub: HubServer) -> Iterator[Target]:
    with target(tmp_path_factory.mktemp("hub"), HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="0") as made:
        yield made
        made.check_kept()


API, FILE = "/api/models/evil", "/resolve/.*config.json"
DEEP = b'{"a":' * 100_000
TRICKS: dict[str, tuple[str, Trick]] = {
    "names that climb": (API, named("../../../../tmp/evil.json", "a/../../x.json")),
    "absolute names": (API, named("/etc/passwd", "/tmp/evil.json")),
    "a name with NUL": (API, named("a\0.json")),
    "a name that is a number": (API, named(5)),
    "a name of 1 MB": (API, named("a" * 10**6)),
    "sizes that are texts": (API, named(size="10")),
    "sizes below zero": (API, named(size=-(2**63))),
    "sizes beyond all": (API, named(size=10**30)),
    "100 000 files": (API, named(*(f"f{n}.json" for n in range(100_000)))),
    "files that are none": (API, described([None, 5, "x", {}])),
    "a commit that is none": (API, named("x.json")),
    "a commit that climbs": (API, described([{"rfilename": "config.json", "size": 5}], sha="../../../../tmp/evil")),
    "a commit that is a number": (API, described([{"rfilename": "config.json", "size": 5}], sha=5)),
    "a list for an object": (API, says(200, b"[]", Content_Type="application/json")),
    "no JSON": (API, says(200, b"<html>", Content_Type="text/html")),
    "JSON 10^5 deep": (API, says(200, DEEP, Content_Type="application/json")),
    "an answer without end": (API, without_end(b'{"id": "', b"a" * 65536)),
    "a status that is none": (API, says(999)),
    "a teapot": (API, says(418)),
    "a failure": (API, says(500, b"secret trace")),
    "too many requests": (API, says(429, b"", Retry_After="99999999")),
    "a redirect to itself": (API, says(302, b"", Location="/api/models/evil/x")),
    "a redirect to the cloud's data": (API, says(302, b"", Location="http://169.254.169.254/latest/meta-data/")),
    "a redirect to a file": (API, says(302, b"", Location="file:///etc/passwd")),
    "a config without end": (FILE, without_end(b'{"a": "', b"a" * 65536)),
    "a config 10^5 deep": (FILE, says(200, DEEP)),
    "a config that is a list": (FILE, says(200, b"[]")),
    "a config of another length": (FILE, says(200, b"{}", ETag='"x"')),
    "a config from the cloud's data": (FILE, says(302, b"", Location="http://169.254.169.254/latest/meta-data/")),
    "a config with code": (FILE, says(200, json.dumps(bert_config(auto_map={"AutoModel": "evil.E"})).encode())),
    "weights without end": ("/resolve/.*model.safetensors", without_end(b"\xff\xff\xff\xff\0\0\0\0", b"a" * 65536)),
    "weights whose header lies": ("/resolve/.*model.safetensors", says(200, b"\xff" * 8 + b"{}")),
    "weights that ignore the range": ("/resolve/.*model.safetensors", says(200, bytes(10**6))),
}


def asked(site: Target, hub: HubServer, pattern: str, trick: Trick) -> Any:
    hub.tricks.clear()
    hub.trick(pattern, trick)
    return site.post({"model": "evil/x", "task": "none", "prune": {"strategy": "top", "drop": 1}})


@pytest.mark.parametrize("name", TRICKS)
def test_a_hub_that_lies_is_refused_or_left_to_the_worker(hub_site: Target, hub: HubServer, name: str) -> None:
    hub.add("evil/x", bert_files())
    answer = asked(hub_site, hub, *TRICKS[name])
    hub_site.check(f"hub: {name}", answer, SAFE)
    assert "secret trace" not in answer.text


@pytest.mark.parametrize("path", [API, FILE], ids=["of the repository", "of a file"])
def test_a_redirect_takes_the_hubs_token_to_nobody(hub_site: Target, hub: HubServer, inside: Inside, path: str) -> None:
    """Nor does it let the hub ask what stands on this machine: whether that answers must not show."""
    hub.add("evil/x", bert_files())
    answer = asked(hub_site, hub, path, says(302, b"", Location=f"{inside.url}/admin"))
    hub_site.check(f"hub: a redirect {path} to this machine", answer, SAFE)
    assert [token for _, token in inside.came if token] == []

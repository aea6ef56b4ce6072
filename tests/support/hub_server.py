"""A small server on 127.0.0.1 that speaks enough of the hub's protocol for its real client.

    with HubServer() as hub:
        hub.add("owner/name", {"config.json": b"{}"})            # a model; kind="datasets" for a dataset
        hub.add("owner/name", {"config.json": b"{ }"})           # its main branch moves; the old commit stays
        ... HF_ENDPOINT=hub.url

It knows repository info, and files (HEAD, GET, Range, ETag, X-Repo-Commit), gated repositories, and can be slow.
``trick`` makes it lie: whatever is asked for by a path is then answered by a function of the test.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

_API = re.compile(r"^/api/(models|datasets)/([^/]+/[^/]+|[^/]+?)(?:/(revision)/(.+))?$")
_FILE = re.compile(r"^/(?:(datasets)/)?([^/]+/[^/]+|[^/]+)/resolve/([^/]+)/(.+)$")
#: Status, headers, body.
Answer = tuple[int, dict[str, str], bytes]
#: Answers a request instead of the server.
Trick = Callable[[BaseHTTPRequestHandler], None]

_RANGE = re.compile(r"^bytes=(\d+)-(\d*)$")


@dataclass
class Repo:
    files: dict[str, bytes]
    token: str | None = None  # gated: who sends another one, or none, may not read
    card: dict[str, Any] = field(default_factory=dict)
    private: bool = False

    @property
    def commit(self) -> str:
        digest = hashlib.sha1(usedforsecurity=False)
        for name, content in sorted(self.files.items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()


class HubServer:
    """``requests`` holds (method, path) of every request that was answered."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str]] = []
        self.stalled: re.Pattern[str] | None = None  # paths that are answered only when the server closes
        self.broken: re.Pattern[str] | None = None  # paths that are answered with 500
        self.closing = threading.Event()
        self.tricks: list[tuple[re.Pattern[str], Trick]] = []
        self._repos: dict[tuple[str, str], Repo] = {}
        self._commits: dict[tuple[str, str, str], Repo] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def add(
        self, id: str, files: dict[str, bytes], *, kind: str = "models", token: str | None = None, **card: Any
    ) -> Repo:
        repo = self._repos[kind, id] = Repo(files, token, card)
        self._commits[kind, id, repo.commit] = repo
        return repo

    def trick(self, pattern: str, do: Trick) -> None:
        """Have ``do`` answer, from now on, what is asked for by a path with ``pattern`` in it."""
        self.tricks.append((re.compile(pattern), do))

    def trick_of(self, path: str) -> Trick | None:
        return next((do for pattern, do in self.tricks if pattern.search(path)), None)

    def forget(self, id: str, commit: str) -> None:
        """As a branch that is pushed by force loses what was on it."""
        del self._commits["models", id, commit]

    def __enter__(self) -> HubServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, path: str, token: str | None) -> Answer:
        """Status, headers and body of a GET without a range."""
        if self.broken and self.broken.search(path):
            return 500, {}, b""
        if match := _API.match(path):
            kind, id, _, revision = match.groups()
            return self._read(kind, id, revision or "main", token, lambda repo: _description(id, repo))
        if match := _FILE.match(path):
            kind, id, revision, name = match.groups()
            return self._read(kind or "models", id, revision, token, lambda repo: _file(repo, name))
        return _refusal(404, "EntryNotFound")

    def _read(
        self, kind: str, id: str, revision: str, token: str | None, found: Any
    ) -> tuple[int, dict[str, str], bytes]:
        repo = self._repos.get((kind, id))
        if repo is None:
            # The real hub answers so whoever has no token, that private names may not be guessed.
            return _refusal(401, "RepoNotFound")
        if repo.token is not None and token != f"Bearer {repo.token}":
            return _refusal(403, "GatedRepo")
        named = repo if revision == "main" else self._commits.get((kind, id, revision))
        return _refusal(404, "RevisionNotFound") if named is None else found(named)

    def write(self, path: str, query: dict[str, str], headers: Message, body: bytes) -> Answer:
        """The answer to a POST or PUT: none is taken here."""
        return _refusal(405, "")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                path = unquote(urlsplit(self.path).path)
                if trick := hub.trick_of(path):
                    hub.requests.append((self.command, path))
                    trick(self)
                    return
                if hub.stalled and hub.stalled.search(path):
                    hub.closing.wait()
                    self.close_connection = True
                    return
                status, headers, body = hub.answer(path, self.headers.get("Authorization"))
                hub.requests.append((self.command, path))
                asked = _RANGE.match(self.headers.get("Range", ""))
                if status == 200 and asked:
                    start, end = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
                    headers["Content-Range"] = f"bytes {start}-{end}/{len(body)}"
                    status, body = 206, body[start : end + 1]
                says_answer((status, headers, body))(self)

            do_HEAD = do_GET

            def do_POST(self) -> None:
                address = urlsplit(self.path)
                path, query = unquote(address.path), dict(parse_qsl(address.query))
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                hub.requests.append((self.command, path))
                (hub.trick_of(path) or says_answer(hub.write(path, query, self.headers, body)))(self)

            do_PUT = do_POST

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def says(status: int, body: bytes = b"", **headers: str) -> Trick:
    """That answer; of the names of headers, _ stands for -."""

    def do(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)

    return do


def says_answer(answer: Answer) -> Trick:
    status, headers, body = answer
    return says(status, body, **headers)


def without_end(start: bytes, piece: bytes, status: int = 200, **headers: str) -> Trick:
    """An answer that goes on for as long as anybody listens."""

    def do(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"ETag": '"' + "0" * 64 + '"', "X_Repo_Commit": "0" * 40, **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.close_connection = True
        try:
            handler.wfile.write(start)
            while handler.command == "GET":
                handler.wfile.write(piece)
        except OSError:
            pass

    return do


def described(files: Any, *, headers: dict[str, str] | None = None, **more: Any) -> Trick:
    """As a repository that has these files; ``more`` stands beside them."""
    body = {"id": "evil/x", "sha": "0" * 40, "siblings": files, "tags": [], "cardData": {}, **more}
    return says(200, json.dumps(body).encode(), Content_Type="application/json", **(headers or {}))


def _refusal(status: int, code: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"X-Error-Code": code, "X-Error-Message": code}, b""


def _description(id: str, repo: Repo) -> tuple[int, dict[str, str], bytes]:
    siblings = [{"rfilename": name, "size": len(content)} for name, content in repo.files.items()]
    body = {
        "id": id,
        "sha": repo.commit,
        "siblings": siblings,
        "tags": [],
        "cardData": repo.card,
        "private": repo.private,
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


def _file(repo: Repo, name: str) -> tuple[int, dict[str, str], bytes]:
    content = repo.files.get(name)
    if content is None:
        return _refusal(404, "EntryNotFound")
    etag = hashlib.sha256(content).hexdigest()
    return 200, {"ETag": f'"{etag}"', "X-Repo-Commit": repo.commit, "Accept-Ranges": "bytes"}, content

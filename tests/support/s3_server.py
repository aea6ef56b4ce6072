"""As much of S3 as our store uses, on a free port of 127.0.0.1: objects, ranges, lists. It checks no signature."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

BUCKET = "bucket"

Server = TypeVar("Server", bound=ThreadingHTTPServer)


class Bucket(ThreadingHTTPServer):
    """``asked`` are the methods and addresses of requests to read; ``deleted`` the keys of each to delete; ``refuses``
    the methods that are answered with 403.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, bytes] = {}
        self.asked: list[tuple[str, str, str | None]] = []
        self.deleted: list[list[str]] = []
        self.refuses: set[str] = set()

    @property
    def environment(self) -> dict[str, str]:
        """What has obstore use it for ``s3://bucket/…``."""
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.server_port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }


class Refusing(ThreadingHTTPServer):
    """Answers everything with ``status`` and the error ``code``, as S3 words it."""

    daemon_threads = True

    def __init__(self, status: int, code: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Refusing)
        self.status, self.code = status, code


class _Refusing(BaseHTTPRequestHandler):
    server: Refusing
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = f"<Error><Code>{self.server.code}</Code><Message>no</Message></Error>".encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET


class _Handler(BaseHTTPRequestHandler):
    server: Bucket
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.command in self.server.refuses:
            self._say(403)
            return
        self.server.objects[self._key()] = body
        self._say(200)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        self.server.asked.append((self.command, self.path, self.headers["Range"]))
        if "list-type" in parse_qs(address.query):
            self._list(parse_qs(address.query).get("prefix", [""])[0])
        elif (body := self.server.objects.get(self._key())) is None:
            self._say(404)
        else:
            self._object(body)

    def do_POST(self) -> None:
        """A list of objects to delete."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        keys = re.findall("<Key>(.*?)</Key>", body)
        self.server.deleted.append(keys)
        for key in keys:
            self.server.objects.pop(unescape(key), None)
        deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
        self._say(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())

    def _object(self, body: bytes) -> None:
        wanted = self.headers["Range"]
        if not wanted:
            self._say(200, body)
            return
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        part = body[int(first) : int(last) + 1]
        self._say(206, part, **{"Content-Range": f"bytes {first}-{int(first) + len(part) - 1}/{len(body)}"})

    def _list(self, prefix: str) -> None:
        found = "".join(
            f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
            f"<ETag>&quot;0&quot;</ETag><Size>{len(body)}</Size></Contents>"
            for key, body in sorted(self.server.objects.items())
            if key.startswith(prefix)
        )
        self._say(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{found}</ListBucketResult>".encode())

    def _key(self) -> str:
        return unquote(urlsplit(self.path).path).removeprefix(f"/{BUCKET}/")

    def _say(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"ETag": '"0"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def bucket() -> Iterator[Bucket]:
    with _served(Bucket()) as server:
        yield server


@contextmanager
def refusing(status: int, code: str = "") -> Iterator[str]:
    """The address of such a server."""
    with _served(Refusing(status, code)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def _served(server: Server) -> Iterator[Server]:
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()

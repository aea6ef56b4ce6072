"""Requests that are no honest HTTP, or that another site's page would send."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

import pytest

from tests.support.attack_target import Expected, Target

pytestmark = pytest.mark.attack

BAD_HEAD = Expected((400, 413, 431), ("malformed_request", "headers_too_large", "payload_too_large"))
NOT_OURS = Expected((421,), ("misdirected",), ("LAYERCUT_ALLOWED_HOSTS",))
CROSS_SITE = Expected((403,), ("cross_site",), ("LAYERCUT_ALLOWED_ORIGINS",))
NO_SUCH = Expected((400, 404, 405, 414), ("not_found", "file_not_found", "job_not_found", "malformed_request",
                   "method_not_allowed", "uri_too_long"))  # fmt: skip
JOB = b'{"model": "a/b", "task": "none"}'

HOSTS = {
    "another name": b"evil.example",
    "another name with our port": b"evil.example:%(port)d",
    "ours as the start of another": b"localhost.evil.example",
    "an address as the start of a name": b"127.0.0.1.evil.example",
    "user information": b"localhost@evil.example",
    "a port that is none": b"evil.example:99999999",
    "an open bracket": b"[::1",
    "a name of 3000": b"a" * 3000,
    "a path": b"localhost/../evil.example",
    "bytes that are no name": b"\xff\xfe",
}


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_host_that_is_not_ours_is_told_nothing(site: Target, name: str, method: str) -> None:
    host = HOSTS[name].replace(b"%(port)d", str(site.port).encode())
    end = b"Content-Length: %d\r\n\r\n%s" % (len(JOB), JOB) if method == "POST" else b"\r\n"
    answer = site.raw(b"%s /v1/jobs HTTP/1.1\r\nHost: %s\r\n%s" % (method.encode(), host, end))
    # A Host that no URL can have may be refused as a head that cannot be read.
    allowed = NOT_OURS if re.fullmatch(rb"[a-z0-9.:]+", host) else Expected((400, 421))
    site.check(f"{method} with Host: {name}", answer, allowed, host.decode("latin-1"))


ORIGINS: dict[str, dict[str, str]] = {
    "another origin": {"Origin": "https://evil.example"},
    "no origin of its own": {"Origin": "null"},
    "ours as the start of another": {"Origin": "http://127.0.0.1:%(port)d.evil.example"},
    "ours with another port": {"Origin": "http://127.0.0.1:1"},
    "ours behind an @": {"Origin": "http://127.0.0.1:%(port)d@evil.example"},
    "an origin of 4000": {"Origin": "https://" + "e" * 4000},
    "a form of another site": {"Origin": "https://evil.example", "Content-Type": "text/plain"},
    "a form of another site, encoded": {
        "Origin": "https://evil.example",
        "Content-Type": "application/x-www-form-urlencoded",
    },
    "cross-site without an origin": {"Sec-Fetch-Site": "cross-site"},
    "same-site is another host": {"Sec-Fetch-Site": "same-site"},
    "a navigation by a form": {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    },
    "a site that no browser says": {"Sec-Fetch-Site": "trust-me"},
}


@pytest.mark.parametrize("name", ORIGINS)
@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs?validate_only=true", "/v1/plans", "/v1/jobs/%s/cancel"])
def test_a_page_of_another_site_posts_and_cancels_nothing(site: Target, name: str, path: str) -> None:
    headers = {key: value.replace("%(port)d", str(site.port)) for key, value in ORIGINS[name].items()}
    answer = site.ask("POST", path.replace("%s", site.known), JOB, headers)
    site.check(f"POST {path} by {name}", answer, CROSS_SITE, headers)


def test_a_preflight_of_another_site_allows_it_nothing(site: Target) -> None:
    headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    answer = site.ask("OPTIONS", "/v1/jobs", None, headers)
    site.check("a preflight", answer, Expected((400, 403, 405)), headers)
    assert not [name for name in answer.headers if name.startswith("access-control-allow")], answer.headers


def head(*lines: bytes, first: bytes = b"POST /v1/jobs HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([first, b"Host: localhost", *lines, b"", body])


SMUGGLED = b"0\r\n\r\nGET /v1/jobs?smuggled=1 HTTP/1.1\r\nHost: localhost\r\n\r\n"
FRAMING = {
    "Content-Length and Transfer-Encoding": head(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=SMUGGLED),
    "Transfer-Encoding and Content-Length": head(b"Transfer-Encoding: chunked", b"Content-Length: 6", body=SMUGGLED),
    "two Content-Lengths": head(b"Content-Length: 2", b"Content-Length: 32", body=JOB),
    "two equal Content-Lengths": head(b"Content-Length: 32", b"Content-Length: 32", body=JOB),
    "a list of Content-Lengths": head(b"Content-Length: 32, 32", body=JOB),
    "a negative Content-Length": head(b"Content-Length: -1", body=JOB),
    "a signed Content-Length": head(b"Content-Length: +32", body=JOB),
    "a Content-Length in hex": head(b"Content-Length: 0x20", body=JOB),
    "a Content-Length of 5000 digits": head(b"Content-Length: " + b"9" * 5000, body=JOB),
    "a Content-Length that is empty": head(b"Content-Length:", body=JOB),
    "an unknown Transfer-Encoding": head(b"Transfer-Encoding: xchunked", body=SMUGGLED),
    "Transfer-Encoding twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=SMUGGLED),
    "chunked after gzip": head(b"Transfer-Encoding: gzip, chunked", body=SMUGGLED),
    "Transfer-Encoding with a tab": head(b"Transfer-Encoding:\x0bchunked", body=SMUGGLED),
    "Transfer-Encoding in HTTP/1.0": head(
        b"Transfer-Encoding: chunked", first=b"POST /v1/jobs HTTP/1.0", body=SMUGGLED
    ),
    "a chunk of a size that is none": head(b"Transfer-Encoding: chunked", body=b"zz\r\n\r\n"),
    "a chunk of a negative size": head(b"Transfer-Encoding: chunked", body=b"-1\r\n\r\n"),
    "a chunk of 2^80 bytes": head(b"Transfer-Encoding: chunked", body=b"F" * 20 + b"\r\n" + JOB + b"\r\n0\r\n\r\n"),
    "an extension of 100 KB": head(b"Transfer-Encoding: chunked", body=b"1;" + b"a" * 100_000 + b"\r\n{\r\n0\r\n\r\n"),
    "a trailer of 100 KB": head(b"Transfer-Encoding: chunked", body=b"0\r\nX: " + b"a" * 100_000 + b"\r\n\r\n"),
    "a folded line": head(b"X-Folded: a\r\n b: c", b"Content-Length: 0"),
    "a folded Transfer-Encoding": head(b"Transfer-Encoding:\r\n chunked", body=SMUGGLED),
    "a bare line feed": b"GET /v1/jobs HTTP/1.1\nHost: localhost\n\n",
    "a carriage return in a value": head(b"X: a\rTransfer-Encoding: chunked", b"Content-Length: 0"),
    "NUL in a value": head(b"X: a\0b", b"Content-Length: 0"),
    "NUL in a name": head(b"X\0: a", b"Content-Length: 0"),
    "a space before the colon": head(b"Content-Length : 0"),
    "a header without a colon": head(b"nonsense"),
    "a header without a name": head(b": nonsense"),
    "two Hosts": head(b"Host: evil.example", b"Content-Length: 0"),
    "10 000 headers": head(*[b"X-%d: 1" % number for number in range(10_000)]),
    "one header of 1 MB": head(b"X: " + b"a" * 2**20),
    "no Host": b"GET /v1/jobs HTTP/1.1\r\n\r\n",
    "HTTP/0.9": b"GET /v1/jobs\r\n\r\n",
    "HTTP/3.0": b"GET /v1/jobs HTTP/3.0\r\nHost: localhost\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)),
    "a method with a space": b"GE T /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of 100 KB": b"A" * 100_000 + b" / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no method": b" /v1/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two spaces": b"GET  /v1/jobs  HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes of no kind": bytes(range(256)) * 8 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", FRAMING)
def test_a_head_that_two_servers_may_read_differently_is_refused_and_the_connection_ends(
    site: Target, name: str
) -> None:
    answer = site.raw(FRAMING[name], end=True)
    site.check(f"framing: {name}", answer, BAD_HEAD if answer.status else Expected((0,)))
    assert answer.closed, f"framing: {name}: the connection stays open, {answer}"


TARGETS = {
    "an address of 1 MB": b"/v1/jobs/" + b"a" * 2**20,
    "an address of 10 KB": b"/v1/jobs/" + b"a" * 10_000,
    "dots above the root": b"/../../../../etc/passwd",
    "encoded dots": b"/v1/jobs/%2e%2e/%2e%2e/etc/passwd",
    "encoded slashes": b"/v1/jobs/..%2f..%2f..%2fetc%2fpasswd",
    "twice encoded": b"/v1/jobs/%252e%252e%252fetc%252fpasswd",
    "backslashes": b"/v1/jobs/..%5c..%5cetc%5cpasswd",
    "NUL": b"/v1/jobs/%00",
    "two slashes": b"//etc/passwd",
    "no UTF-8": b"/v1/jobs/%ff%fe",
    "overlong dots": b"/v1/jobs/%c0%ae%c0%ae/etc/passwd",
    "a page's files": b"/docs/../../../../etc/passwd",
    "a page's files, encoded": b"/docs/%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "an id with a quote": b"/v1/jobs/'%20OR%201=1--",
    "an id that is a pattern": b"/v1/jobs/%25",
    "files of no job": b"/v1/jobs/../jobs/x/files/../../../data/layercut.db",
    "half an escape": b"/v1/jobs/%",
    "a line break": b"/v1/jobs/x%0d%0aSet-Cookie:%20a=b",
}


@pytest.mark.parametrize("name", TARGETS)
def test_an_address_leads_to_no_file(site: Target, name: str) -> None:
    answer = site.raw(b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % TARGETS[name])
    allowed = Expected((400, 404, 414, 431), (*NO_SUCH.codes, "headers_too_large"))
    site.check(f"address: {name}", answer, allowed, TARGETS[name].decode("latin-1"))
    assert "root:" not in answer.text
    assert "set-cookie" not in answer.headers


NAMES = (
    "../../../../../../etc/passwd", "%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%2f..%2fmanifest.json",
    "%2fetc%2fpasswd", "/etc/passwd", "%2Fproc%2Fself%2Fenviron", "..%5c..%5clayercut.db", "model.safetensors%00.txt",
    "./model.safetensors", "x/../../manifest.json", "%252e%252e%252fmanifest.json", "../manifest.json",
    "model.safetensors/", "MODEL.SAFETENSORS", ".", "..", "%2e", "~", "a" * 1500,
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_name_leads_to_no_file_but_the_artifacts(site: Target, name: str) -> None:
    path = f"/v1/jobs/{site.done}/files/{name}"
    answer = site.raw(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    site.check(f"file: {name[:80]}", answer, NO_SUCH, [path, name, unquote(name)])
    assert "root:" not in answer.text


METHODS = (
    ("PUT", {}), ("PATCH", {}), ("TRACE", {}), ("FOO", {}), ("get", {}), ("delete", {}), ("CONNECT", {}),
    ("POST", {"X-HTTP-Method-Override": "DELETE"}), ("POST", {"X-Method-Override": "PUT"}),
)  # fmt: skip


@pytest.mark.parametrize(("method", "headers"), METHODS)
def test_a_job_takes_no_method_but_those_of_the_document(site: Target, method: str, headers: dict[str, str]) -> None:
    answer = site.ask(method, f"/v1/jobs/{site.known}", None, headers)
    site.check(f"{method} {headers}", answer, Expected((400, 404, 405)))


RANGES = {
    "first of 5000 digits": ("bytes=" + "9" * 5000 + "-", (416,)),
    "last of 5000 digits": ("bytes=0-" + "9" * 5000, (200, 206)),
    "the last 5000 digits": ("bytes=-" + "9" * 5000, (200, 206)),
    "zeros of 5000 digits": ("bytes=" + "0" * 5000 + "-0", (200, 206)),
    "the wrong way round": ("bytes=5-2", (200, 416)),
    "a thousand ranges": ("bytes=" + ",".join("0-0" for _ in range(1000)), (200, 206, 416)),
    "negative": ("bytes=--5", (200, 400, 416)),
    "no number": ("bytes=a-b", (200, 400, 416)),
    "another unit": ("rows=0-1", (200, 416)),
    "nothing": ("bytes=", (200, 400, 416)),
    "a float": ("bytes=0.5-1e3", (200, 400, 416)),
    "the end and one more": ("bytes=102400-", (416,)),
}


@pytest.mark.parametrize("name", RANGES)
def test_a_range_is_of_the_file_or_refused(site: Target, name: str) -> None:
    header, statuses = RANGES[name]
    path = f"/v1/jobs/{site.done}/files/model.safetensors"
    answer = site.ask("GET", path, None, {"Range": header})
    site.check(f"Range: {name}", answer, Expected(statuses), header)
    assert len(answer.body) <= 102_400


HEADERS: dict[str, tuple[str, dict[str, str], tuple[int, ...]]] = {
    "10 000 media types": ("/report", {"Accept": ",".join(["a/b;q=0.1"] * 1500)}, (200, 406)),
    "a weight that is none": ("/report", {"Accept": "text/markdown;q=nan,application/json;q=inf"}, (200, 400, 406)),
    "a weight of 5000 digits": ("/report", {"Accept": "text/markdown;q=" + "9" * 5000}, (200, 400, 406)),
    "media types that are none": ("/report", {"Accept": ";;;q=,,/;*"}, (200, 400, 406)),
    "a wait of 5000 digits": ("", {"Prefer": "wait=" + "9" * 5000}, (200, 400)),
    "a wait below zero": ("", {"Prefer": "wait=-1"}, (200, 400)),
    "3000 preferences": ("", {"Prefer": ",".join(["wait=0"] * 1500)}, (200, 400, 422)),
    "an event that is none": ("/events", {"Last-Event-ID": "evil"}, (200, 204, 400, 422)),
    "an event of 5000 digits": ("/events", {"Last-Event-ID": "9" * 5000}, (200, 204, 400, 422)),
    "an event below zero": ("/events", {"Last-Event-ID": "-1"}, (200, 204, 400, 422)),
    "an event beyond 64 bits": ("/events", {"Last-Event-ID": str(2**63)}, (200, 204, 400, 422)),
    "10 KB of tags": ("/files/README.md", {"If-None-Match": '"x",' * 2500}, (200, 304)),
    "a condition that is none": ("/files/README.md", {"If-Range": "\\" * 3000, "Range": "bytes=0-0"}, (200, 206)),
    "another's address": ("", {"X-Forwarded-For": "10.0.0.1, ' OR 1=1", "X-Forwarded-Host": "evil.example"}, (200,)),
    "a rewritten address": ("", {"X-Original-URL": "/v1/keys", "X-Rewrite-URL": "/v1/keys"}, (200,)),
    "an upgrade": ("", {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "eA=="}, (200, 400)),
    "an upgrade to HTTP/2": ("", {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c"}, (200, 400)),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("stream", [False, True], ids=["", "stream"])
def test_a_header_that_is_too_much_is_answered_at_once(site: Target, name: str, stream: bool) -> None:
    path, headers, statuses = HEADERS[name]
    if stream and path != "/events":
        pytest.skip("only events are streamed")
    headers = {**headers, "Accept": "text/event-stream"} if stream else headers
    answer = site.ask("GET", f"/v1/jobs/{site.done}{path}", None, headers)
    site.check(f"header: {name}", answer, Expected(statuses, also=(431,)), headers)


REQUEST_IDS = (
    b"a%0d%0aX-Injected: 1", b"a" * 5000, b"<script>alert(1)</script>", b"\xff\xfe", b"a b", b"${jndi:ldap://x}",
    b"../../x", b"'; DROP TABLE jobs; --", b"\x1b[2J", b"a\tb",
)  # fmt: skip


@pytest.mark.parametrize("sent", REQUEST_IDS)
def test_a_request_id_is_taken_only_where_it_is_harmless(site: Target, sent: bytes) -> None:
    answer = site.raw(b"GET /v1/nothing HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: %s\r\n\r\n" % sent)
    site.check(f"request id {sent[:40]!r}", answer, Expected((400, 404, 431)))
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers.get("x-request-id", "none"))
    assert sent.decode("latin-1") not in answer.text
    assert "x-injected" not in answer.headers


QUERIES = {
    "a cursor that is none": "after=evil",
    "a cursor with NUL": "after=%00",
    "a cursor of 100 KB": "after=" + "a" * 100_000,
    "a cursor with a quote": "after='%3B%20DROP%20TABLE%20jobs%3B--",
    "another list's cursor": "after=../../x",
    "2500 filters": "&".join(f"metadata[k{number}]=v" for number in range(2500)),
    "20 filters": "&".join(f"metadata[k{number}]=v" for number in range(20)),
    "a filter with NUL": "metadata[a%00]=b",
    "a filter with a quote": "metadata[a'%5D%22]=b%27",
    "a key that is a path": "metadata[$.a.b[0]]=x",
    "a key of 8 KB": f"metadata[{'k' * 8000}]=x",
    "a limit that is none": "limit=abc",
    "a limit of 5000 digits": "limit=" + "9" * 5000,
    "a status that is none": "status=evil",
    "a model with NUL": "model=%00",
    "a task of half a pair": "task=%ed%a0%80",
    "5000 parameters": "&".join(["x=1"] * 5000),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_query_is_bounded(site: Target, name: str) -> None:
    answer = site.ask("GET", f"/v1/jobs?{QUERIES[name]}")
    told: dict[str, Any] = {"sent": QUERIES[name]}
    site.check(f"query: {name}", answer, Expected((200, 400, 414, 422, 431)), told)
    if answer.status == 200:
        assert site.known not in answer.text or "metadata" not in QUERIES[name], f"{name} let a filter through"


KINDS = {
    "a form with parts": ("multipart/form-data; boundary=x", b"--x\r\n\r\n{}\r\n--x--"),
    "XML": ("application/xml", b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>'),
    "HTML": ("text/html", JOB),
    "YAML": ("application/yaml", b"!!python/object/apply:os.system ['id']"),
    "a pickle": ("application/x-python-pickle", b"\x80\x04."),
    "a type of 10 KB": ("a/" + "b" * 10_000, JOB),
    "a type with parameters": ("text/html; charset=utf-8; application/json", JOB),
    "an image": ("image/svg+xml", JOB),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_body_that_is_no_json_by_its_type_is_not_read(site: Target, name: str) -> None:
    kind, body = KINDS[name]
    answer = site.ask("POST", "/v1/jobs", body, {"Content-Type": kind})
    # What is read as text, since its type says nothing, is refused for what it says.
    site.check(f"content type: {name}", answer, Expected((400, 415, 422)), kind)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_not_unpacked(site: Target, encoding: str) -> None:
    import gzip  # noqa: PLC0415

    bomb = gzip.compress(b"[" * 10**7)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    site.check(f"{encoding} bomb", site.ask("POST", "/v1/jobs", bomb, headers), Expected((400, 415)))


def test_a_body_that_ends_halfway_is_no_job(site: Target) -> None:
    answer = site.raw(head(b"Content-Length: 1000", body=JOB), end=True)
    site.check("half a body", answer, Expected((0, 400, 408)))


def test_a_body_over_the_limit_is_refused_before_it_is_sent(site: Target) -> None:
    answer = site.raw(head(b"Content-Length: 99999999999", b"Expect: 100-continue"))
    site.check("a body of 100 GB", answer, Expected((413,), ("payload_too_large",)))


def test_every_answer_says_what_a_browser_must_not_do_with_it(site: Target) -> None:
    for path in ("/v1/jobs", f"/v1/jobs/{site.done}/files/README.md", "/docs", "/nothing"):
        headers = site.ask("GET", path).headers
        assert headers.get("x-content-type-options") == "nosniff", path
        assert "content-security-policy" in headers, path


def test_the_page_for_people_loads_nothing_from_elsewhere(site: Target) -> None:
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", site.ask("GET", "/docs").text)

"""One attempt at a message, against receivers that do as they like."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import ssl
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from api_schemas.errors import LayercutError
from service.settings import GatewaySettings
from service.webhooks import addresses
from service.webhooks.outcomes import outcome_of
from service.webhooks.sender import Sender
from service.webhooks.signing import Signer
from store.deliveries import Due, Outcome
from store.webhooks import SecretRef
from tests.support.processes import eventually
from tests.support.webhook_receiver import Receiver, status

BODY = '{"type":"job.succeeded","timestamp":"2026-01-01T00:00:00Z","data":{"name":"ü"}}'
REF = SecretRef("whk_1", (1,))


@pytest.fixture
def settings(settings: GatewaySettings) -> GatewaySettings:
    return settings.model_copy(
        update={"webhook_hosts": ["127.0.0.1"], "webhook_plain_http": True, "webhook_seconds": 1.0}
    )


@pytest.fixture
def send(settings: GatewaySettings) -> Callable[..., Outcome]:
    def attempt(url: str, ref: SecretRef = REF) -> Outcome:
        return Sender(settings, Signer(settings)).send(Due("msg_1", 1, "whk_1", "default", url, BODY, ref))

    return attempt


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


def test_a_message_is_verified_by_the_library(
    settings: GatewaySettings, send: Callable[..., Outcome], receiver: Receiver
) -> None:
    assert send(receiver.url) == Outcome(delivered=True, status=204)
    message = receiver.got[0]
    assert message.read(Signer(settings).secret(REF))["data"] == {"name": "ü"}
    assert (message.path, message.id) == ("/hook?token=s3cr3t", "msg_1")
    assert message.headers["content-type"] == "application/json"
    assert message.headers["host"] == f"127.0.0.1:{receiver.port}"
    with pytest.raises(Exception, match="No matching signature"):
        message.read(Signer(settings).secret(SecretRef("whk_2", (1,))))


def test_after_a_rotation_both_secrets_verify(
    settings: GatewaySettings, send: Callable[..., Outcome], receiver: Receiver
) -> None:
    send(receiver.url, SecretRef("whk_1", (3, 2)))
    for number in (2, 3):
        receiver.got[0].read(Signer(settings).secret(SecretRef("whk_1", (number,))))
    with pytest.raises(Exception, match="No matching signature"):
        receiver.got[0].read(Signer(settings).secret(REF))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(send: Callable[..., Outcome], receiver: Receiver, code: int) -> None:
    with Receiver() as inside:
        receiver.answer = status(code, location=inside.url)
        outcome = send(receiver.url)
        assert (outcome.delivered, outcome.status, outcome.gone) == (False, code, False)
        assert "it redirects, which is not followed" in str(outcome.error)
        assert inside.got == []


def test_what_is_said_beside_a_failure_is_kept_in_part(send: Callable[..., Outcome], receiver: Receiver) -> None:
    receiver.answer = status(500, b"no   room\n" + b"x" * 10_000_000)
    outcome = send(receiver.url)
    assert str(outcome.error).startswith("status 500: no room xxx")
    assert len(str(outcome.error)) < 250


def test_an_answer_without_end_is_not_read(send: Callable[..., Outcome], receiver: Receiver) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    receiver.answer = endless
    assert send(receiver.url) == Outcome(delivered=True, status=200)


def test_a_receiver_that_drips_has_the_time_of_all(send: Callable[..., Outcome], receiver: Receiver) -> None:
    def head(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        with suppress(OSError):
            while not released.wait(0.2):
                handler.wfile.write(b"a")

    released = threading.Event()
    receiver.answer = head
    assert send(receiver.url).error == "no answer within 1 s"
    released.set()


def test_a_receiver_that_never_answers(send: Callable[..., Outcome]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        outcome = send(f"http://127.0.0.1:{silent.getsockname()[1]}/")
    assert (outcome.delivered, outcome.error) == (False, "no answer within 1 s")


@pytest.mark.parametrize(
    "nonsense",
    [b"\0\1\2\r\n\r\n", b"", b"HTTP/1.1 999999 X\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 50_000],
    ids=["bytes", "nothing", "status", "headers"],
)
def test_a_receiver_that_speaks_no_http(send: Callable[..., Outcome], receiver: Receiver, nonsense: bytes) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        with suppress(OSError):
            handler.wfile.write(nonsense)

    receiver.answer = answer
    outcome = send(receiver.url)
    assert not outcome.delivered
    assert "the connection failed" in str(outcome.error)


def test_nobody_listens(send: Callable[..., Outcome]) -> None:
    assert "the connection failed: ConnectError" in str(send("http://127.0.0.1:1/").error)


def test_an_address_is_looked_at_again_at_each_attempt(
    settings: GatewaySettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: public when it was registered, inside when the message goes; and what was checked is what is
    connected to, whatever the name server says a moment later.
    """
    strict = settings.model_copy(update={"webhook_hosts": []})
    asked: list[str] = []

    def rebinding(host: str, port: object, *args: Any, **more: Any) -> Any:
        asked.append(host)
        address = "93.184.215.14" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port or 0))]

    def refused(address: tuple[str, int], *args: Any, **more: Any) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    connected: list[tuple[str, int]] = []
    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    monkeypatch.setattr(socket, "create_connection", refused)
    sender = Sender(strict, Signer(strict))
    due = Due("msg_1", 1, "whk_1", "default", f"http://rebind.example.org:{receiver.port}/", BODY, REF)
    assert "the connection failed" in str(sender.send(due).error)
    assert (asked, connected) == (["rebind.example.org"], [("93.184.215.14", receiver.port)])
    assert "has an address inside" in str(sender.send(due).error)
    assert len(connected) == 1
    assert receiver.got == []


def test_a_name_server_that_hangs_has_the_time_of_all(
    settings: GatewaySettings, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, real = threading.Event(), socket.getaddrinfo

    def hang(host: str, *args: Any, **more: Any) -> Any:
        if host == "hangs.example.org":
            released.wait(20)
        return real("127.0.0.1", *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(addresses, "_lookups", threading.BoundedSemaphore(2))
    settings = settings.model_copy(update={"webhook_seconds": 0.2, "webhook_hosts": ["hangs.example.org", "fine.org"]})

    def send(host: str) -> Outcome:
        due = Due("msg_1", 1, "whk_1", "default", f"http://{host}:{receiver.port}/", BODY, REF)
        return Sender(settings, Signer(settings)).send(due)

    for _ in range(2):
        assert "'hangs.example.org' cannot be resolved within 0.2 s" in str(send("hangs.example.org").error)
    assert "'fine.org' cannot be resolved" in str(send("fine.org").error), "and keeps so many threads, and no more"
    released.set()
    assert eventually(lambda: send("fine.org").delivered)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="nothing else here makes certificates")
def test_a_certificate_must_be_of_the_name(
    settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The connection goes to an address, and the certificate is held against the name."""
    names = "subjectAltName=DNS:hooks.example.org"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-days", "2", "-subj", "/CN=test",
         "-addext", names],
        check=True, capture_output=True,
    )  # fmt: skip
    settings.webhook_hosts = ["hooks.example.org", "other.example.org"]
    real = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *args, **more: real("127.0.0.1", *args, **more))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Receiver() as receiver:
        receiver.speak_tls(context)
        send = lambda name: Sender(settings, Signer(settings)).send(  # noqa: E731
            Due("msg_1", 1, "whk_1", "default", f"https://{name}:{receiver.port}/", BODY, REF)
        )
        assert "CERTIFICATE_VERIFY_FAILED" in str(send("hooks.example.org").error)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert send("hooks.example.org") == Outcome(delivered=True, status=204)
        assert "mismatch" in str(send("other.example.org").error)
        assert len(receiver.got) == 1


@pytest.mark.parametrize(
    ("code", "header", "wait"),
    [
        (503, "120", 120), (429, " 7 ", 7), (503, "999999999999", 86_400), (503, "-5", 0), (503, "soon", 0),
        (503, "", 0), (503, "Thu, 01 Jan 1970 00:00:00 GMT", 0), (503, "Fri, 01 Jan 2999 00:00:00 GMT", 86_400),
        (500, "120", 0),
        (503, "Fri, 01 Jan 2999 00:00:00", 0),
    ],
)  # fmt: skip
def test_retry_after_is_heeded_within_bounds(code: int, header: str, wait: float) -> None:
    assert outcome_of(code, header, "").wait == wait


def test_gone_is_for_good() -> None:
    assert outcome_of(410, "", "").gone
    assert not outcome_of(404, "", "").gone


def test_secrets_are_derived_from_the_key(settings: GatewaySettings) -> None:
    one, two = (Signer(settings.model_copy(update={"secret_key": key * 32})) for key in ("a", "b"))
    refs = [SecretRef("whk_1", (1,)), SecretRef("whk_1", (2,)), SecretRef("whk_2", (1,))]
    secrets = {signer.secret(ref) for signer in (one, two) for ref in refs}
    assert len(secrets) == 6
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)
    assert one.fingerprint != two.fingerprint
    assert not (settings.data_dir / "secret.key").exists()
    with pytest.raises(ValueError, match="at least 32 characters"):
        Signer(settings.model_copy(update={"secret_key": "short"}))


def test_a_key_is_made_once_and_kept_from_others(settings: GatewaySettings) -> None:
    found: list[str] = []
    start = threading.Barrier(8)

    def read() -> None:
        start.wait()
        found.append(Signer(settings).fingerprint)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 8
    assert stat.S_IMODE(os.stat(settings.data_dir / "secret.key").st_mode) == 0o600
    assert [path.name for path in settings.data_dir.glob("secret.key*")] == ["secret.key"]


def test_a_key_that_cannot_be_kept_is_said(settings: GatewaySettings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LayercutError, match="set LAYERCUT_SECRET_KEY"):
        Signer(settings.model_copy(update={"data_dir": tmp_path / "file"})).secret(REF)

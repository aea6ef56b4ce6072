"""What is tried again and what is not, what is no layercut, who gets the key: of a service that the test plays."""

from __future__ import annotations

import pytest

from layercut.client import Client, InvalidAnswer, LayercutApiError, Unreachable
from layercut.client.retries import Patience
from tests.support.gateway_process import free_port
from tests.support.played_service import Heard, Said, played_service, said_json, said_problem


class Clock:
    """Pauses take no time, and are counted."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def now(self) -> float:
        return sum(self.slept)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("layercut.client.wire.sleep", made.sleep)
    monkeypatch.setattr(Patience, "clock", staticmethod(made.now))
    return made


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (said_problem(503, "database_unavailable", Retry_After="2"), 3),
        (said_problem(429, "queue_full", Retry_After="2"), 3),
        (said_problem(409, "hub_unavailable", Retry_After="2"), 3),
        (said_problem(429, "quota_exceeded", Retry_After="60"), 1),
        (said_problem(429, "queue_full", Retry_After="nan"), 1),
        (said_problem(409, "job_not_terminal"), 1),
        (said_problem(507, "storage_full", Retry_After="2"), 1),
        (said_problem(500, "internal"), 1),
        (said_problem(422, "invalid_layers"), 1),
        (Said(500, b"oops"), 1),
    ],
)
def test_only_what_passes_by_itself_is_tried_again_as_it_says(answer: Said, tries: int, clock: Clock) -> None:
    with played_service(lambda _: answer) as service, Client(service.url, retry_seconds=5) as client:
        with pytest.raises(LayercutApiError) as refused:
            client.submit(model="a/b", task="none")
        assert refused.value.status == answer.status
        assert len(service.heard) == tries
        assert len({heard.headers["idempotency-key"] for heard in service.heard}) == 1
    assert clock.slept == [2.0] * (tries - 1)


def test_a_proxy_that_nothing_is_behind_is_waited_for(clock: Clock) -> None:
    answers = iter([Said(502, b"<h1>Bad Gateway</h1>"), Said(504), said_json({"data": []})])
    with played_service(lambda _: next(answers)) as service, Client(service.url) as client:
        assert client.files("job_1") == []
    assert len(clock.slept) == 2


def test_nobody_there_is_said_soon(clock: Clock) -> None:
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(Unreachable, match="GET /v1/limits"):
        client.limits()
    assert 0 < sum(clock.slept) <= 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Said(200, b"<h1>Welcome</h1>", {"Content-Type": "text/html"}), "text/html came, not .*: is this a layercut"),
        (said_json({"id": 1}), "what came is no Job of this version: id"),
        (Said(200, b"{", {"Content-Type": "application/json"}), "is no Job"),
        (Said(200, bytes(5000), {"Content-Type": "application/json"}), "more than 1000"),
    ],
)
def test_what_is_no_layercut_is_said_so(answer: Said, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layercut.client.exchange.MOST_BYTES", 1000)
    with (
        played_service(lambda _: answer) as service,
        Client(service.url) as client,
        pytest.raises(InvalidAnswer, match=said),
    ):
        client.get("job_1")


def test_a_key_goes_to_the_service_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_API_KEY", "lc_key\n")
    with played_service(lambda _: said_json({"data": []})) as store:

        def elsewhere(heard: Heard) -> Said:
            return Said(307, headers={"Location": store.url})

        with played_service(elsewhere) as service, Client(service.url) as client:
            assert client.files("job_1") == []
            assert [heard.headers["authorization"] for heard in service.heard] == ["Bearer lc_key"]
            assert "authorization" not in store.heard[0].headers
            with pytest.raises(InvalidAnswer):
                client.submit(model="a/b", task="none")
            assert len(store.heard) == 1, "what asks for something is sent nowhere else"


@pytest.mark.parametrize("status", [301, 307, 200])
def test_what_was_not_deleted_is_not_told_as_deleted(status: int) -> None:
    moved = Said(status, headers={"Location": "https://layercut.example/"})
    with played_service(lambda _: moved) as service, Client(service.url) as client:
        with pytest.raises(InvalidAnswer, match=f"DELETE /v1/jobs/job_1: {status}"):
            client.delete("job_1")
        with pytest.raises(ValueError, match="an id is missing"):
            client.delete("")  # as of a variable that is not set: it would be another address
        assert [heard.path for heard in service.heard] == ["/v1/jobs/job_1"]


def test_a_page_of_a_proxy_is_no_card() -> None:
    login = Said(200, b"<h1>Log in</h1>", {"Content-Type": "text/html"})
    with (
        played_service(lambda _: login) as service,
        Client(service.url) as client,
        pytest.raises(InvalidAnswer, match="text/html came, not text/markdown"),
    ):
        client.card("job_1")


@pytest.mark.parametrize("url", ["http://layercut:80o0", "http://[::1", "http://\x00", "layercut:8000"])
def test_an_address_that_is_none_is_said_so(url: str) -> None:
    with pytest.raises(ValueError, match="the service's address is"):
        Client(url)


def test_no_secret_is_in_any_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_API_KEY", "lc_secret_of_mine")
    monkeypatch.setenv("LAYERCUT_URL", "https://layercut.example/root/")
    with Client() as client:
        assert repr(client) == "<Client of https://layercut.example/root/ with a key>"
        assert "secret" not in str(vars(client)) + repr(client._place)
    for url, key in (("https://me:secret@layercut.example", ""), ("ftp://secret:x@h", ""), (None, "secret\x07")):
        with pytest.raises(ValueError, match=r"key|address") as refused:
            Client(url, key)
        assert "secret" not in str(refused.value)

"""What is wrong with an object store is told apart: by a real one wherever it can be made to say it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from api_schemas.errors import LayercutError
from store.artifacts import ArtifactStore
from store.object_errors import first_fault
from store.passing import links, passing
from tests.support.gateway_process import free_port
from tests.support.s3_server import refusing
from tests.support.seaweedfs import LACKING, OWNER, READER, Identity, Seaweed

PREFIX = "jobs/job_1/attempts/1-aa"
# Long enough for a machine that does something else meanwhile: a store that stalls takes as long.
SECONDS = 3.0

Use = Callable[..., ArtifactStore]


@pytest.fixture
def use(seaweedfs: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Use:
    """A store at ``bucket``, by whose key, and wherever else the environment leads."""

    def opened(bucket: str = "layercut", who: Identity = OWNER, **more: str) -> ArtifactStore:
        for name, value in {**seaweedfs.environment(who), **more}.items():
            monkeypatch.setenv(name, value)
        return ArtifactStore(f"s3://{bucket}/errors", SECONDS)

    return opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "config.json").write_text("{}")
    return tmp_path / "made"


def kind_and_words(call: Callable[[], object]) -> tuple[str, str]:
    """What a user reads of what ``call`` raises, and of which kind it is."""
    with pytest.raises(Exception) as caught:  # noqa: PT011 - what it is read as is what is looked at
        call()
    found, fault = passing(caught.value), first_fault(links(caught.value))
    assert found is not None
    assert fault is not None
    assert (found.code, found.message) == ("storage_unavailable", fault.sentence)
    for secret in (OWNER.secret_key, OWNER.access_key, "Signature", "job_1", "Debug", "\n"):
        assert secret not in found.message
    return fault.kind, found.message


def test_a_bucket_that_is_not_there_is_told_and_counts_nothing_as_missing_or_deleted(
    use: Use, seaweedfs: Seaweed, folder: Path, tmp_path: Path
) -> None:
    store = use("nowhere")
    large = store.upload(PREFIX)
    for call in (
        store.check,
        lambda: store.publish(PREFIX, folder),
        lambda: large.put("model.safetensors", 20 << 20, (bytes(1 << 20) for _ in range(20))),
        lambda: store.manifest(PREFIX),
        lambda: store.open_files(PREFIX, ["config.json"]),
        lambda: store.open_range(PREFIX, "config.json", 0, 0),
        lambda: store.open_range(PREFIX, "config.json", 0, 9),
        lambda: store.fetch(PREFIX, tmp_path / "new"),
        lambda: store.prefixes("jobs"),
        lambda: store.delete(PREFIX),
        lambda: store.sweep("job_1", 1, None),
    ):
        kind, words = kind_and_words(call)
        assert kind == "missing"
        assert f"{seaweedfs.endpoint}/nowhere" in words


def test_a_file_that_is_missing_in_a_sound_store_is_no_fault_of_the_store(use: Use) -> None:
    store = use()
    for call in (
        lambda: store.manifest(PREFIX),
        lambda: store.open_files(PREFIX, ["config.json"]),
        lambda: store.open_range(PREFIX, "config.json", 0, 0),
    ):
        with pytest.raises(LayercutError) as caught:
            call()
        assert caught.value.code == "file_not_found"
    store.delete(PREFIX)


@pytest.mark.parametrize(
    ("who", "why"),
    [
        (READER, "its key may not do this"),
        (OWNER._replace(secret_key="wrong"), "its secret key does not belong to its access key"),
        (OWNER._replace(access_key="AKIANOBODY"), "its access key is not known there"),
    ],
    ids=["no right", "wrong secret", "unknown"],
)
def test_a_key_that_is_refused_is_told_why(use: Use, seaweedfs: Seaweed, folder: Path, who: Identity, why: str) -> None:
    store = use(who=who)
    for call in (store.check, lambda: store.publish(PREFIX, folder)):
        kind, words = kind_and_words(call)
        assert (kind, why in words) == ("refused", True), words
        assert f"{seaweedfs.endpoint}/layercut" in words
        assert who.access_key not in words


@pytest.mark.parametrize("lacking", LACKING, ids=lambda identity: identity.name)
def test_every_right_that_is_needed_is_tried_by_readiness(use: Use, lacking: Identity) -> None:
    use().check()
    kind, words = kind_and_words(use(who=lacking).check)
    assert (kind, "its key may not do this" in words) == ("refused", True)


def test_one_that_stalls_is_told_from_one_that_nobody_serves(use: Use, seaweedfs: Seaweed) -> None:
    store = use()
    store.check()
    seaweedfs.freeze()
    try:
        kind, words = kind_and_words(store.check)
    finally:
        seaweedfs.thaw()
    assert (kind, f"{seaweedfs.endpoint}/layercut takes connections and does not answer" in words) == ("stalled", True)

    nobody = f"http://127.0.0.1:{free_port()}"
    kind, words = kind_and_words(use(AWS_ENDPOINT=nobody, AWS_ENDPOINT_URL=nobody).check)
    assert (kind, f"{nobody}/layercut does not answer" in words) == ("unreachable", True)


@pytest.mark.parametrize(
    ("status", "code", "kind", "why"),
    [
        (503, "SlowDown", "busy", "asks for fewer requests"),
        (429, "TooManyRequests", "busy", "asks for fewer requests"),
        (500, "InternalError", "unreachable", "does not answer"),
        (502, "", "unreachable", "does not answer"),
        (403, "RequestTimeTooSkewed", "refused", "the clocks of the service and of the store differ"),
        (400, "ExpiredToken", "refused", "has expired"),
        (400, "AuthorizationHeaderMalformed", "refused", "another region"),
        (301, "PermanentRedirect", "refused", "another region"),
        (403, "SomethingNew", "refused", "its key has expired or was revoked, or may not do this"),
        (404, "NoSuchBucket", "missing", "has no such bucket"),
        # As Azure words them.
        (404, "ContainerNotFound", "missing", "has no such bucket"),
        (503, "ServerBusy", "busy", "asks for fewer requests"),
        (403, "AuthenticationFailed", "refused", "its key is not the one of the account"),
    ],
)
def test_what_others_say_is_read_by_its_code(use: Use, status: int, code: str, kind: str, why: str) -> None:
    with refusing(status, code) as address:
        found, words = kind_and_words(use(AWS_ENDPOINT=address, AWS_ENDPOINT_URL=address).check)
    assert (found, why in words) == (kind, True), words
    assert f"{address}/layercut" in words


def test_a_password_in_an_address_is_not_told(use: Use) -> None:
    with refusing(403) as address:
        named = address.replace("//", "//user:geheim@")
        _, words = kind_and_words(use(AWS_ENDPOINT=named, AWS_ENDPOINT_URL=named).check)
    assert "geheim" not in words
    assert f"{address}/layercut" in words


def test_plain_http_that_was_not_allowed_is_told(use: Use) -> None:
    kind, words = kind_and_words(use(AWS_ALLOW_HTTP="false").check)
    assert (kind, "AWS_ALLOW_HTTP=true" in words) == ("refused", True)


def test_a_host_without_any_key_is_told_so(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    store = use()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    store = ArtifactStore("s3://layercut/errors", SECONDS)
    kind, words = kind_and_words(store.check)
    assert (kind, "it was given no key, and this host has no role" in words) == ("refused", True)
    assert "169.254" not in words

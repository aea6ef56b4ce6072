"""Which address is whose store, what a client is given from the environment, and how long it may take."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from store.artifacts import ArtifactStore
from store.object_clients import impatient, open_signer, open_store, unhurried
from store.object_environment import NoStore
from store.presigning import Presigner

KEYS = {
    "AWS_ACCESS_KEY_ID": "AKIAKEY", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-central-1",
    "AZURE_STORAGE_ACCOUNT_NAME": "account", "AZURE_STORAGE_ACCOUNT_KEY": "a2V5",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AZURE_ENDPOINT", "GOOGLE_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("url", "kind", "place", "prefix"),
    [
        ("s3://bucket/a/b", S3Store, "bucket", "a/b"),
        ("s3a://bucket", S3Store, "bucket", None),
        ("https://bucket.s3.eu-central-1.amazonaws.com/a", S3Store, "bucket", "a"),
        ("gs://bucket/a", GCSStore, "bucket", "a"),
        ("az://container/a", AzureStore, "container", "a"),
        ("azure://container/a", AzureStore, "container", "a"),
        ("abfss://container@account.dfs.core.windows.net/a", AzureStore, "container", "a"),
        ("https://account.blob.core.windows.net/container/a", AzureStore, "container", "a"),
    ],
)
@pytest.mark.parametrize("seconds", [None, 2.0])
def test_every_kind_of_address_opens_its_bucket(
    url: str, kind: type[S3Store | GCSStore | AzureStore], place: str, prefix: str | None, seconds: float | None
) -> None:
    store = open_store(url, seconds)
    assert isinstance(store, kind)
    assert (store.config.get("bucket") or store.config.get("container_name"), store.prefix) == (place, prefix)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://host/a", "Unable to recognise URL"),
        ("s3://", "Unable to recognise URL"),
        ("nonsense", "no address of an object store"),
        ("http://user:geheim@seaweedfs:8333/bucket?token=geheim", "s3://bucket/prefix"),
        ("https://storage.googleapis.com/bucket", "GOOGLE_BASE_URL"),
    ],
)
def test_what_is_no_address_of_a_store_is_refused_in_one_sentence(url: str, why: str) -> None:
    with pytest.raises(NoStore) as caught:
        ArtifactStore(url)
    said = str(caught.value)
    assert why in said
    assert ("geheim" in said, "\n" in said) == (False, False)


@pytest.mark.parametrize("value", ["seaweedfs:8333", "127.0.0.1:8333", "/s3", "http://"])
def test_an_address_of_a_server_that_is_none_is_refused_by_its_name(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(NoStore, match=r"AWS_ENDPOINT_URL is .*: it is http:// or https:// with a host"):
        open_store("s3://bucket", None)


def test_a_variable_that_is_empty_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ENDPOINT_URL", "SESSION_TOKEN", "CHECKSUM_ALGORITHM", "PROXY_URL", "VIRTUAL_HOSTED_STYLE_REQUEST"):
        monkeypatch.setenv(f"AWS_{name}", "")
    assert signed(ArtifactStore("s3://bucket")).startswith("https://s3.eu-central-1.amazonaws.com/bucket/")


def test_azure_without_its_account_is_refused_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(NoStore, match="'az://container/a' is no address of an object store: Account must be specified"):
        ArtifactStore("az://container/a")


@pytest.mark.parametrize(
    ("url", "prefix"),
    [
        ("s3://b", "AWS_"),
        ("gs://b", "GOOGLE_"),
        ("az://b", "AZURE_"),
        ("abfss://b@c", "AZURE_"),
        ("https://account.blob.core.windows.net/b", "AZURE_"),
        ("https://b.s3.amazonaws.com", "AWS_"),
    ],
)
def test_options_of_the_client_that_the_environment_has_are_kept(url: str, prefix: str) -> None:
    """With options of ours, obstore would not look there any more."""
    environment = {f"{prefix}ALLOW_HTTP": "true", f"{prefix}PROXY_URL": "http://proxy:3128", "X_USER_AGENT": "no"}
    for given in (impatient(url, 2.0, environment), unhurried(url, environment)):
        options = given["client_options"]
        assert (options.get("allow_http"), options.get("proxy_url")) == ("true", "http://proxy:3128")
        assert "user_agent" not in options


def test_an_answer_in_time_and_a_file_as_long_as_it_takes() -> None:
    """By itself the client ends a download after half a minute, and tries for three."""
    for given, silent in ((impatient("s3://b", 2.0), 2), (unhurried("s3://b"), 60)):
        options = given["client_options"]
        assert options["read_timeout"] <= timedelta(seconds=silent)
        assert options["timeout"] >= timedelta(hours=12)
        assert options["read_timeout"] + given["retry_config"]["retry_timeout"] <= timedelta(seconds=2 * silent)


def signed(store: ArtifactStore) -> str:
    address = store.presigned("p", "a b.json", 60)
    assert address is not None
    return address


def test_an_address_is_signed_for_where_callers_reach_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://seaweedfs:8333")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    inside = urlsplit(signed(ArtifactStore("s3://bucket/a")))
    assert (inside.netloc, inside.path) == ("seaweedfs:8333", "/bucket/a/p/a%20b.json")
    outside = urlsplit(signed(ArtifactStore("s3://bucket/a", presigned_endpoint="https://files.example.org")))
    assert (outside.scheme, outside.netloc, outside.path) == ("https", "files.example.org", inside.path)
    assert parse_qs(outside.query)["X-Amz-Signature"] != parse_qs(inside.query)["X-Amz-Signature"]


def test_where_the_bucket_is_in_the_name_of_the_host_it_is_so_in_the_other_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_VIRTUAL_HOSTED_STYLE_REQUEST", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://bucket.inside.example.org")
    store = ArtifactStore("s3://bucket/a", presigned_endpoint="https://bucket.files.example.org")
    assert signed(store).startswith("https://bucket.files.example.org/a/p/a%20b.json?")


def test_azure_signs_with_the_key_of_the_account() -> None:
    assert signed(ArtifactStore("az://container")).startswith("https://account.blob.core.windows.net/container/p/")
    outside = ArtifactStore("az://container", presigned_endpoint="https://files.example.org")
    assert signed(outside).startswith("https://files.example.org/container/p/")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [("gs://b", "https://files.example.org"), ("s3://b", "files.example.org"), ("s3://b", "ftp://x")],
)
def test_another_address_that_cannot_be_is_refused(url: str, endpoint: str) -> None:
    with pytest.raises(NoStore, match="is no http:// or https:// address"):
        ArtifactStore(url, presigned_endpoint=endpoint)


def test_a_setting_that_would_win_over_the_other_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://seaweedfs:8333")
    with pytest.raises(NoStore, match="set AWS_ENDPOINT_URL in its place"):
        open_signer("s3://b", "https://files.example.org", None)


def test_what_cannot_be_signed_is_sent_by_us(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that somebody else signed cannot sign."""
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    monkeypatch.setenv("AZURE_STORAGE_SAS_KEY", "sv=2023-11-03&sig=c2ln")
    assert ArtifactStore("az://container").presigned("p", "x", 60) is None
    assert ArtifactStore("memory:///").presigned("p", "x", 60) is None
    assert Presigner(None).address("p/x", 60) is None

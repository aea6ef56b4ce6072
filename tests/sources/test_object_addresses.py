"""Addresses of object stores: which there are, and which are below which."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from api_schemas.errors import LayercutError
from sources.objects.addresses import Address, allowed, parse
from sources.settings import SourceSettings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://bucket/a/b.csv", Address("s3", "bucket", "a/b.csv")),
        ("gs://bucket/folder/", Address("gs", "bucket", "folder")),
        ("az://container", Address("az", "container")),
        ("s3://bucket/a b%20ü=1.csv", Address("s3", "bucket", "a b%20ü=1.csv")),
    ],
)
def test_an_address(text: str, expected: Address) -> None:
    assert parse(text) == expected
    assert str(expected) == text.removesuffix("/")


@pytest.mark.parametrize(
    "text",
    [
        "https://bucket/a", "s3:bucket/a", "s3://", "s3:///a", "s3://bucket//a", "s3://bucket/a/../b", "s3://bucket/./a",
        "s3://bucket/a\\b", "s3://bucket/a\n", "s3://bucket/" + "a" * 1025, "s3://buck et/a", "s3://user:key@bucket/a",
        "s3://bucket/a?b=c", "s3://bucket/a#b", "s3://bucket/" + "a" * 256,
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"address|key"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "prefixes", "is_allowed"),
    [
        ("s3://bucket/data/a.csv", ["s3://bucket/data"], True),
        ("s3://bucket/data", ["s3://bucket/data/"], True),
        ("s3://bucket/data-of-others/a.csv", ["s3://bucket/data"], False),
        ("s3://bucket/a.csv", ["s3://other", "s3://bucket"], True),
        ("gs://bucket/a.csv", ["s3://bucket"], False),
        ("s3://bucket/a.csv", [], False),
    ],
)
def test_what_is_below_an_allowed_one(text: str, prefixes: list[str], is_allowed: bool) -> None:
    if is_allowed:
        assert str(allowed(text, prefixes, what="dataset", param="/task/dataset")) == text
        return
    with pytest.raises(LayercutError, match="LAYERCUT_DATA_URLS") as caught:
        allowed(text, prefixes, what="dataset", param="/task/dataset")
    assert (caught.value.code, caught.value.param) == ("dataset_not_allowed", "/task/dataset")


def test_settings_take_addresses_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAYERCUT_MODEL_URLS", "s3://bucket/models/, gs://other")
    assert SourceSettings().model_urls == ["s3://bucket/models", "gs://other"]
    monkeypatch.setenv("LAYERCUT_MODEL_URLS", "/models")
    with pytest.raises(ValidationError, match="begins with s3://"):
        SourceSettings()

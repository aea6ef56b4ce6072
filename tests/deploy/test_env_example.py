"""deploy/env.example tells every setting there is, with its default, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from obstore.exceptions import GenericError, UnknownConfigurationKeyError
from obstore.store import AzureStore, GCSStore, S3Store
from pydantic_settings import BaseSettings

from service.settings import GatewaySettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^(?:# )?([A-Z][A-Z_0-9]+)=(.*)$")
COMPOSE_ONLY = {
    "POSTGRES_PASSWORD",
    "PUBLISH",
    "MODELS_FOLDER",
    "DATA_FOLDER",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_SERVICE_NAME",
    "OTEL_SDK_DISABLED",
    "OTEL_TRACES_EXPORTER",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
}


#: Of obstore's own, which its client reads.
OBJECT_STORE = re.compile(r"(?:AWS|GOOGLE|AZURE)_\w+|SSL_CERT_FILE")


def example() -> dict[str, str]:
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    return {found[1]: found[2] for line in lines if (found := LINE.match(line))}


def variables(settings: type[BaseSettings]) -> set[str]:
    return {f"LAYERCUT_{name.upper()}" for name, field in settings.model_fields.items() if not field.exclude}


def test_every_setting_is_listed_and_nothing_else() -> None:
    ours = {name for name in example() if not OBJECT_STORE.fullmatch(name)}
    assert ours - COMPOSE_ONLY == variables(GatewaySettings) | variables(WorkerSettings)


@pytest.mark.parametrize("settings", [GatewaySettings, WorkerSettings], ids=["gateway", "worker"])
def test_the_file_taken_as_it_stands_changes_nothing(
    settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in variables(settings):
        monkeypatch.delenv(name, raising=False)
    defaults = settings()
    for name, value in example().items():
        monkeypatch.setenv(name, value)
    assert settings() == defaults


@pytest.mark.parametrize(("prefix", "store"), [("AWS_", S3Store), ("GOOGLE_", GCSStore), ("AZURE_", AzureStore)])
def test_obstore_knows_every_variable_of_object_stores(prefix: str, store: Callable[..., object]) -> None:
    names = [name for name in example() if name.startswith(prefix)]
    assert len(names) > 5
    for name in names:
        with suppress(GenericError):  # it knows the name, and does not like the value
            store("bucket", config={name: "x"})
    with pytest.raises(UnknownConfigurationKeyError):
        store("bucket", config={f"{prefix}NO_SUCH_VARIABLE": "x"})


def test_what_compose_reads_from_env_is_explained_there() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    passed_on = {
        name
        for service in yaml.safe_load(text)["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert passed_on | set(re.findall(r"\$\{(\w+)", text)) <= set(example())

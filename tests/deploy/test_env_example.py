"""deploy/env.example tells every setting there is, with its default, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings

from service.settings import GatewaySettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
LINE = re.compile(r"^(?:# )?([A-Z][A-Z_]+)=(.*)$")
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
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_MODE",
}


def example() -> dict[str, str]:
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    return {found[1]: found[2] for line in lines if (found := LINE.match(line))}


def variables(settings: type[BaseSettings]) -> set[str]:
    return {f"LAYERCUT_{name.upper()}" for name, field in settings.model_fields.items() if not field.exclude}


def test_every_setting_is_listed_and_nothing_else() -> None:
    assert set(example()) - COMPOSE_ONLY == variables(GatewaySettings) | variables(WorkerSettings)


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


def test_what_compose_reads_from_env_is_explained_there() -> None:
    text = (ROOT / "docker-compose.yml").read_text()
    passed_on = {
        name
        for service in yaml.safe_load(text)["services"].values()
        for name, value in service.get("environment", {}).items()
        if value is None
    }
    assert passed_on | set(re.findall(r"\$\{(\w+)", text)) <= set(example())

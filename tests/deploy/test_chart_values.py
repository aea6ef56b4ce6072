"""The chart's values and documents, without helm: whole, and in agreement with the settings and with each other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import jsonschema_rs
import pytest
import yaml

from service.settings import GatewaySettings
from tests.support.chart import CHART, ROOT, VALUES
from workers.settings import WorkerSettings

DEFAULTS: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()))
README = (CHART / "README.md").read_text()
SETTINGS = {
    f"LAYERCUT_{name.upper()}" for settings in (GatewaySettings, WorkerSettings) for name in settings.model_fields
}


def leaves(schema: dict[str, Any], place: str = "") -> Iterator[str]:
    """The dotted names of all values that the schema knows; what is free in its keys is one."""
    known = schema.get("properties")
    if not known:
        yield place
        return
    for key, value in known.items():
        yield from leaves(value, f"{place}.{key}" if place else key)


def default_of(name: str) -> Any:
    """Raises ``KeyError`` where values.yaml has none."""
    found: Any = DEFAULTS
    for part in name.split("."):
        found = found[part]
    return found


#: helm's own, for charts that have others in them.
NAMES = sorted(set(leaves(SCHEMA)) - {"global"})


def test_the_schema_takes_the_defaults_with_a_secret_and_every_file_of_values() -> None:
    for path in VALUES.values():
        given = yaml.safe_load(path.read_text())
        # helm takes a null out before it looks.
        given.get("secretKeys", {}).pop("shared", None)
        jsonschema_rs.validate(SCHEMA, {**DEFAULTS, **given})


@pytest.mark.parametrize(
    "wrong",
    [
        {"existingSecret": ""},
        {"existingSecret": "s", "gatway": {}},
        {"existingSecret": "s", "workers": {"pools": [{"name": "Big_GPU"}]}},
        {"existingSecret": "s", "workers": {"pools": [{"name": "gpu", "gpu": 1}]}},
        {"existingSecret": "s", "workers": {"pools": [{"gpus": 1}]}},
        {"existingSecret": "s", "rootPath": "layercut"},
        {"existingSecret": "s", "config": {"shared": {"LAYERCUT_DATABASE_URL": "postgresql://u:p@h/d"}}},
        {"existingSecret": "s", "config": {"gateway": {"LAYERCUT_ROOT_PATH": "/x"}}},
        {"existingSecret": "s", "gateway": {"image": {"digest": "latest"}}},
    ],
    ids=str,
)
def test_what_is_no_value_is_refused(wrong: dict[str, Any]) -> None:
    assert not jsonschema_rs.is_valid(SCHEMA, wrong)


@pytest.mark.parametrize("name", NAMES)
def test_each_value_has_a_default_and_is_told_in_the_readme(name: str) -> None:
    default_of(name)
    parts = name.split(".")
    groups = {".".join(parts[: depth + 1]) for depth in range(len(parts))}
    assert groups & set(re.findall(r"^\| `([\w.]+)`", README, re.MULTILINE)), name


def test_the_readme_tells_of_no_value_that_there_is_not() -> None:
    for name in re.findall(r"^\| `([\w.]+)`", README, re.MULTILINE):
        default_of(name)


def test_every_setting_that_the_chart_names_is_one() -> None:
    found = set(re.findall(r"LAYERCUT_[A-Z_]+[A-Z]", TEMPLATES + README + (CHART / "values.yaml").read_text()))
    found |= {name for path in VALUES.values() for name in re.findall(r"LAYERCUT_[A-Z_]+[A-Z]", path.read_text())}
    assert found <= SETTINGS


def test_what_the_templates_set_cannot_be_set_beside_them() -> None:
    refused = SCHEMA["properties"]["config"]["properties"]["shared"]["propertyNames"]["not"]["enum"]
    set_here = set(re.findall(r"name: (LAYERCUT_[A-Z_]+)", TEMPLATES))
    by_reference = {name for keys in DEFAULTS["secretKeys"].values() for name in keys}
    assert set_here | by_reference <= set(refused)


def test_the_chart_is_of_this_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == version("layercut")


def test_the_alerts_and_the_board_are_the_ones_that_are_tested() -> None:
    for name, original in {"rules.yml": "prometheus/rules.yml", "layercut.json": "grafana/layercut.json"}.items():
        assert (CHART / "files" / name).resolve() == ROOT / "deploy" / original

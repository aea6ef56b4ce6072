"""docker-compose.yml, as far as it can be judged without Docker. tests/integration/test_compose.py runs it."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from service.settings import GatewaySettings
from workers.settings import WorkerSettings

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("gateway", "worker")


#: What is run once before another, and ends.
STEPS = {"s3-volume"}


@pytest.fixture(params=sorted(set(SERVICES) - STEPS))
def service(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SERVICES[request.param]


def test_the_services_are_there_and_those_that_only_look_are_asked_for() -> None:
    by_default = {name for name, service in SERVICES.items() if "profiles" not in service}
    assert by_default - STEPS == {"gateway", "worker", "postgres", "valkey", "s3"}
    asked_for = {name: service["profiles"] for name, service in SERVICES.items() if "profiles" in service}
    assert asked_for == {"prometheus": ["monitoring"], "grafana": ["monitoring"]}


def test_a_service_restarts_has_a_healthcheck_and_room_to_stop(service: dict[str, Any]) -> None:
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] == "CMD"
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])


def test_a_service_is_not_root_and_cannot_write_its_image(service: dict[str, Any]) -> None:
    assert service["user"].split(":")[0] not in ("", "0", "root")
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]


def test_an_image_is_pinned_by_a_tag(service: dict[str, Any]) -> None:
    tag = service["image"].partition(":")[2].removeprefix("v")
    assert re.match(r"\d+\.\d+", tag), f"{service['image']} has no version"
    if "build" in service:
        assert tag == version("layercut"), "our own images have the version of pyproject.toml"


def test_every_volume_that_is_used_is_declared_and_no_other() -> None:
    mounts = [mount.split(":")[0] for service in SERVICES.values() for mount in service["volumes"]]
    assert {mount for mount in mounts if re.fullmatch(r"\w+", mount)} == set(COMPOSE["volumes"])
    given = {name for service in SERVICES.values() for name in service.get("secrets", [])}
    assert given == set(COMPOSE["secrets"])


def test_a_folder_of_this_repository_that_is_mounted_is_there_and_read_only() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service["volumes"] if mount.startswith("./")]
    assert len(mounts) == 3
    for mount in mounts:
        place, _, mode = mount.split(":")
        assert (ROOT / place).exists(), mount
        assert mode == "ro", mount


def test_only_the_step_that_gives_a_volume_away_is_root_and_it_can_do_nothing_else() -> None:
    step = SERVICES["s3-volume"]
    assert (step["cap_drop"], step["cap_add"], step["read_only"]) == (["ALL"], ["CHOWN"], True)
    assert step["network_mode"] == "none"
    assert step["volumes"] == SERVICES["s3"]["volumes"]
    assert step["command"][0] == SERVICES["s3"]["user"]
    assert SERVICES["s3"]["depends_on"] == {"s3-volume": {"condition": "service_completed_successfully"}}


def test_our_images_are_built_here_and_run_as_the_user_that_owns_the_volumes() -> None:
    for name in OURS:
        dockerfile = (ROOT / SERVICES[name]["build"]["dockerfile"]).read_text()
        assert f"USER {SERVICES[name]['user']}" in dockerfile
        assert "torch" not in re.findall(r"pip install .*", dockerfile)[0]


def test_only_the_worker_image_has_the_worker_extra() -> None:
    listed = {name: (ROOT / "deploy" / f"requirements-{name}.txt").read_text() for name in OURS}
    assert {name: "\ntransformers==" in text for name, text in listed.items()} == {"gateway": False, "worker": True}


def test_gateway_and_worker_share_a_store_and_no_disk_but_what_they_read() -> None:
    gateway, worker = (set(SERVICES[name]["volumes"]) for name in OURS)
    written = {mount for mount in gateway & worker if not mount.endswith(":ro")}
    assert written == {"hub:/var/cache/layercut"}, "the hub's files, which each would fetch by itself"
    assert sum(mount.endswith((":/models:ro", ":/data:ro")) for mount in gateway & worker) == 2
    same = ["LAYERCUT_DATABASE_URL", "LAYERCUT_BROKER_URL", "LAYERCUT_ARTIFACTS_URL", "LAYERCUT_LEASE_SECONDS"]
    for name in (*same, *(name for name in SERVICES["gateway"]["environment"] if name.startswith("AWS_"))):
        assert SERVICES["gateway"]["environment"][name] == SERVICES["worker"]["environment"][name]


def test_what_a_service_keeps_lies_on_a_volume() -> None:
    for name in OURS:
        places = [mount.split(":")[1] for mount in SERVICES[name]["volumes"] if not mount.endswith(":ro")]
        assert SERVICES[name]["environment"]["LAYERCUT_DATA_DIR"] in places, "checkpoints, the key for webhooks"


def test_the_broker_never_drops_a_message_and_survives_a_restart() -> None:
    command = SERVICES["valkey"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--appendonly"] == "yes"


def test_the_worker_has_more_time_to_stop_than_it_gives_its_runner() -> None:
    grace = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace >= WorkerSettings().leave_seconds


def test_only_the_gateway_and_the_board_are_published_and_on_loopback_by_default() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {
        "gateway": ["${PUBLISH:-127.0.0.1:8000}:8000"],
        "grafana": ["${PUBLISH_GRAFANA:-127.0.0.1:3000}:3000"],
    }
    assert COMPOSE["networks"]["back"]["internal"] is True


def test_no_secret_stands_in_the_file() -> None:
    given = [
        (name, value or "") for service in SERVICES.values() for name, value in service.get("environment", {}).items()
    ]
    secrets = [value for name, value in given if re.search("PASSWORD|SECRET|TOKEN|KEY", name)]
    secrets += [found[1] for _, value in given if (found := re.search(r"://[^/@:]*:([^@]*)@", value))]
    assert secrets.count("${POSTGRES_PASSWORD:?set it in .env}") == 3
    assert secrets.count("${AWS_SECRET_ACCESS_KEY:?set it in .env}") == 3
    assert not [value for value in secrets if value and not value.startswith("${")]


def test_our_urls_name_services_of_this_file() -> None:
    environment = SERVICES["gateway"]["environment"]
    urls = [environment[f"LAYERCUT_{what}_URL"] for what in ("DATABASE", "BROKER")]
    assert [re.search(r"[/@](\w+):\d+/", url)[1] for url in urls] == ["postgres", "valkey"]
    assert environment["AWS_ENDPOINT_URL"] == "${AWS_ENDPOINT_URL-http://s3:8333}"


def test_the_store_listens_for_others_only_where_keys_are_asked_for() -> None:
    options = dict(word.partition("=")[::2] for word in SERVICES["s3"]["command"])
    assert options["-s3.port"] == "8333"
    listening = {name: value for name, value in options.items() if name.endswith("ip.bind")}
    assert listening == {"-ip.bind": "127.0.0.1", "-s3.ip.bind": "0.0.0.0"}


def test_prometheus_scrapes_services_of_this_file_by_names_that_they_answer_to() -> None:
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    gateway, worker = scraped
    assert gateway["static_configs"] == [{"targets": ["gateway:8000"]}]
    assert SERVICES["gateway"]["environment"]["LAYERCUT_ALLOWED_HOSTS"] == "${LAYERCUT_ALLOWED_HOSTS:-gateway}"
    assert gateway["authorization"]["credentials_file"] == f"/run/secrets/{SERVICES['prometheus']['secrets'][0]}"
    assert worker["dns_sd_configs"][0]["names"] == ["worker"]
    assert str(worker["dns_sd_configs"][0]["port"]) == SERVICES["worker"]["environment"]["LAYERCUT_WORKER_PORT"]


def test_grafana_is_given_the_board_and_where_its_numbers_are() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    [source] = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"]
    port = SERVICES["prometheus"]["command"][-1].rpartition(":")[2]
    assert (source["type"], source["url"]) == ("prometheus", f"http://prometheus:{port}")
    [provider] = yaml.safe_load((folder / "dashboards" / "layercut.yml").read_text())["providers"]
    boards = [mount.split(":")[1] for mount in SERVICES["grafana"]["volumes"] if mount.startswith("./")]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home in boards
    assert home.startswith(provider["options"]["path"])


@pytest.mark.parametrize(("name", "settings"), [("gateway", GatewaySettings), ("worker", WorkerSettings)])
def test_every_setting_of_a_service_reaches_it(name: str, settings: type[BaseSettings]) -> None:
    wanted = {f"LAYERCUT_{name.upper()}" for name, field in settings.model_fields.items() if not field.exclude}
    given = {variable for variable in SERVICES[name]["environment"] if variable.startswith("LAYERCUT_")}
    assert given == wanted


def test_every_variable_of_object_stores_that_is_explained_reaches_our_services() -> None:
    texts = [(ROOT / name).read_text() for name in ("deploy/env.example", "docs/object-storage.md")]
    wanted = {found for text in texts for found in re.findall(r"\b(?:AWS|GOOGLE|AZURE)_[A-Z_0-9]*[A-Z0-9]\b", text)}
    # Set by the platform for each container, and of no use where somebody else passes them on.
    wanted -= {"AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"}
    assert {"AWS_ENDPOINT_URL", "GOOGLE_SERVICE_ACCOUNT", "AZURE_STORAGE_ACCOUNT_KEY"} <= wanted
    for name in OURS:
        assert wanted <= set(SERVICES[name]["environment"])


def test_every_variable_of_tracing_that_is_read_or_documented_reaches_our_services() -> None:
    texts = [(ROOT / name).read_text() for name in ("telemetry/tracing.py", "docs/monitoring.md")]
    wanted = {found for text in texts for found in re.findall(r"OTEL_[A-Z_]+", text)}
    for name in OURS:
        assert wanted <= set(SERVICES[name]["environment"])

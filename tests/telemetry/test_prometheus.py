"""A real Prometheus reads what we expose, and every expression of the board and the alerts means something to it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.gateway_process import free_port
from tests.support.installation import Installation
from tests.support.processes import eventually

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "layercut.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
ALERTS = yaml.safe_load(RULES.read_text())["groups"][0]["rules"]

#: What has no data where nothing failed, was lost or is asked of the cache.
MAY_BE_EMPTY = {"Failures by error", "Taken back by the reaper", "Cache", "Failed in a day"}

needs_promtool = pytest.mark.skipif(
    not (shutil.which("promtool") and shutil.which("prometheus")),
    reason="prometheus and promtool are not installed (apt-get install prometheus)",
)
pytestmark = [needs_promtool, pytest.mark.slow]


def promtool(*arguments: str | Path, text: bytes | None = None, folder: Path | None = None) -> str:
    done = subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, check=False, timeout=60, cwd=folder
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_the_alerts_are_sound_and_fire_where_they_should() -> None:
    promtool("check", "rules", "--lint-fatal", RULES)
    promtool("test", "rules", RULES.with_name("rules_test.yml"))


def test_the_configuration_is_sound(tmp_path: Path) -> None:
    for path in (DEPLOY / "prometheus").iterdir():
        shutil.copy(path, tmp_path)
    config = tmp_path / "prometheus.yml"
    # A file that a container has, and this machine has not.
    (tmp_path / "metrics-key").write_text("lc_00000000_secret")
    config.write_text(config.read_text().replace("/run/secrets/", ""))
    promtool("check", "config", "prometheus.yml", folder=tmp_path)


def test_what_is_exposed_has_good_names_and_texts(installation: Installation) -> None:
    for who in ("gateway", "worker"):
        text = _exposed(installation, who)
        said = promtool("check", "metrics", text=text)
        assert not [line for line in said.splitlines() if line.startswith("layercut_")], said
        assert installation.job["id"].encode() not in text
        assert b"layercut_" in text


def _exposed(installation: Installation, who: str) -> bytes:
    port = {"gateway": installation.gateway_port, "worker": installation.worker_port}[who]
    return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).content


class Asked:
    """A Prometheus that has scraped both processes a few times."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **parameters: str) -> Any:
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", (parameters, answer)
        return answer["data"]

    def value(self, expression: str) -> list[dict[str, Any]]:
        """The series that it has now."""
        found: list[dict[str, Any]] = self.get("/query", query=expression)["result"]
        return found

    def scraped(self) -> bool:
        try:
            # A rate takes two.
            return len(self.value('count_over_time(up{job=~"layercut-.*"}[1m]) >= 2')) == 2
        except (httpx.TransportError, ValueError):  # it is not ready yet
            return False


@pytest.fixture(scope="session")
def prometheus(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(RULES)]
    ports = {"layercut-gateway": installation.gateway_port, "layercut-worker": installation.worker_port}
    config["scrape_configs"] = [
        {"job_name": job["job_name"], "static_configs": [{"targets": [f"127.0.0.1:{ports[job['job_name']]}"]}]}
        for job in config["scrape_configs"]
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    options = [f"--web.listen-address=127.0.0.1:{port}", f"--storage.tsdb.path={folder}/data", "--log.level=error"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["prometheus", f"--config.file={folder}/prometheus.yml", *options], stdout=log, stderr=log
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False, timeout=10) as client:
                asked = Asked(client)
                eventually(asked.scraped, seconds=60)
                yield asked
        finally:
            process.terminate()
            process.wait(30)


def test_it_scrapes_both_and_loads_the_alerts(prometheus: Asked) -> None:
    targets = prometheus.get("/targets")["activeTargets"]
    assert {target["labels"]["job"]: target["health"] for target in targets} == {
        "layercut-gateway": "up", "layercut-worker": "up",
    }  # fmt: skip
    loaded = [rule for group in prometheus.get("/rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in loaded} == {rule["alert"] for rule in ALERTS}
    eventually(lambda: all(rule["health"] == "ok" for rule in _rules(prometheus)))


def _rules(prometheus: Asked) -> list[dict[str, Any]]:
    return [rule for group in prometheus.get("/rules")["groups"] for rule in group["rules"]]


def test_the_panels_of_the_board_show_what_there_is(prometheus: Asked) -> None:
    for title, target in ((panel["title"], target) for panel in PANELS for target in panel["targets"]):
        expression = target["expr"].replace("$__rate_interval", "1m")
        found = prometheus.value(expression)
        assert found or title in MAY_BE_EMPTY, expression
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        assert all(labels <= set(series["metric"]) for series in found), expression


def test_the_board_and_the_alerts_name_only_what_is_exposed(installation: Installation) -> None:
    exposed = b"".join(_exposed(installation, who) for who in ("gateway", "worker")).decode()
    families = set(re.findall(r"^# TYPE (layercut_\w+)", exposed, re.MULTILINE))
    for expression in [target["expr"] for panel in PANELS for target in panel["targets"]] + [
        rule["expr"] for rule in ALERTS
    ]:
        for name in re.findall(r"layercut_\w+", expression):
            assert {name, name.removesuffix("_bucket")} & families, name
